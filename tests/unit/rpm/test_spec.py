"""Specs: Trilby's own is what its template and setup.cfg give, and others' are whole."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from trilby.rpm.errors import InvalidSpec
from trilby.rpm.imports import imported_modules, requirements_of
from trilby.rpm.project import load_project
from trilby.rpm.spec import Options, render_spec

ROOT = Path(__file__).resolve().parents[3]
PROJECT = load_project(ROOT)
SPEC = (ROOT / "spec" / "trilby.spec").read_text()
LIBRARIES = {
    "python3-trilby": ["oci", "system"],
    "python3-trilby-storage": ["storage"],
    "python3-trilby-image": ["image"],
}


def section(head: str) -> str:
    """The lines of a spec's section, up to the next one."""
    _, _, rest = SPEC.partition(f"\n{head}\n")
    assert rest, f"the spec has no {head}"
    return re.split(
        r"^%(?:package|description|prep|build|install|check|post|files|changelog)\b",
        rest,
        maxsplit=1,
        flags=re.MULTILINE,
    )[0]


def test_the_spec_is_what_the_template_gives() -> None:
    assert render_spec(PROJECT) == SPEC, "run: trilby rpm spec --output spec/trilby.spec"


def test_no_fact_twice() -> None:
    template = (ROOT / "spec" / "trilby.spec.in").read_text()
    assert PROJECT.version not in template.replace("{{ version }}", "")
    assert PROJECT.summary not in template
    for each in PROJECT.requires:
        assert f"dist({each.name.lower()})" not in template


@pytest.mark.parametrize("package", LIBRARIES)
def test_a_library_requires_what_its_folders_import(package: str) -> None:
    places = [f"trilby/{room}" for room in LIBRARIES[package]]
    if package == "python3-trilby":
        places.append("trilby/errors.py")
    wanted = {text for each in requirements_of(PROJECT, *places) for text in each.rpm()}
    assert wanted
    said = set(
        re.findall(
            r"^Requires: +(python3dist.*)$", section(f"%package     -n {package}"), re.MULTILINE
        )
    )
    assert said == wanted


@pytest.mark.parametrize("package", LIBRARIES)
def test_a_subpackage_is_a_folder(package: str) -> None:
    files = section(f"%files -n {package}")
    for room in LIBRARIES[package]:
        assert f"%{{python3_sitelib}}/trilby/{room}/" in files.splitlines()


def test_every_folder_is_in_one_package() -> None:
    named = re.findall(r"^%\{python3_sitelib\}/trilby/([\w/]+)/$", SPEC, re.MULTILINE)
    assert len(named) == len(set(named))
    folders = {
        str(path.parent.relative_to(ROOT / "src" / "trilby"))
        for path in (ROOT / "src" / "trilby").glob("**/__init__.py")
    } - {".", "cli"}
    for folder in folders:
        assert any(folder == name or folder.startswith(f"{name}/") for name in named), folder


def test_libraries_import_no_more_than_what_they_require() -> None:
    """What is below them and what they require is all that their modules find when alone."""
    below = {
        "storage": {"storage", "oci", "system"},
        "image": {"image", "storage", "oci", "system"},
    }
    for room, rooms in below.items():
        for path in (ROOT / "src" / "trilby" / room).rglob("*.py"):
            for name in imported_modules(path.read_bytes()):
                parts = name.split(".")
                if parts[0] == "trilby" and len(parts) > 1:
                    assert parts[1] in rooms | {"errors"}, f"{path} imports {name}"


def test_autospec() -> None:
    text = render_spec(PROJECT, Options(autospec=True))
    assert "Release:        %autorelease\n" in text
    assert text.endswith("%changelog\n%autochangelog\n")


def test_an_old_changelog_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec" / "changelog").write_text(
        "* Tue Nov 24 2026 Me <me@example.org> - 0.9-1\n- x\n"
    )
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = a\nversion = 1\ndescription = A\n")
    with pytest.raises(InvalidSpec, match=r"changelog:1: the newest entry is of 0\.9, .* says 1"):
        render_spec(load_project(tmp_path))


def test_a_template_with_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = a\nversion = 1\ndescription = A\n")
    template = tmp_path / "a.spec.in"
    template.write_text("Name: a\nVersion: {{ vers }}\n")
    with pytest.raises(InvalidSpec, match=r"a\.spec\.in:2: 'vers' is undefined"):
        render_spec(load_project(tmp_path), template=str(template))
    template.write_text("Name: a\n\n{% if %}\n")
    with pytest.raises(InvalidSpec, match=r"a\.spec\.in:3: "):
        render_spec(load_project(tmp_path), template=str(template))


@pytest.mark.parametrize(("scripts", "name"), [(False, "python-a-b"), (True, "a-b")])
def test_any_project(tmp_path: Path, scripts: bool, name: str) -> None:
    """A library becomes python3-NAME; an application keeps its name."""
    text = "[metadata]\nname = a-b\nversion = 1.0rc1\ndescription = A\nlicense = MIT\n"
    if scripts:
        text += "[options.entry_points]\nconsole_scripts =\n    ab = a:main\n"
    (tmp_path / "setup.cfg").write_text(text)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "__init__.py").write_text("")
    spec = render_spec(load_project(tmp_path))
    assert f"Name:           {name}\n" in spec
    assert "Version:        1.0~rc1\n" in spec
    assert "%pyproject_save_files -L a\n" in spec
    assert ("%{_bindir}/ab" in spec) == scripts
    assert ("%files -n python3-a-b -f %{pyproject_files}" in spec) != scripts


def project(tmp_path: Path, *files: str, head: str = "") -> str:
    """The spec of a project with these files, empty or as in ``setup.py=text``."""
    text = 'name = "Tidy.Names"\nversion = "1"\ndescription = "Tidies."\nlicense = "MIT"\n'
    (tmp_path / "pyproject.toml").write_text(f"{head}[project]\n{text}")
    for name, _, content in (each.partition("=") for each in files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return render_spec(load_project(tmp_path))


def test_names_and_summary_are_as_fedora_has_them(tmp_path: Path) -> None:
    spec = project(tmp_path, "tidy_names.py")
    assert spec.startswith("Name:           python-tidy-names\n")
    assert "\n%package -n python3-tidy-names\n" in spec
    assert "\nSummary:        Tidies\n" in spec and "\n%description\nTidies.\n" in spec
    assert "\n%pyproject_save_files -L tidy_names\n" in spec
    assert "BuildArch:      noarch" in spec and "%doc" not in spec


def test_what_lies_beside_the_modules_is_packaged(tmp_path: Path) -> None:
    found = {
        "man/tidy.1": ("%{_mandir}/man1/tidy.1", "*"),
        "docs/man/tidy.conf.5": ("%{_mandir}/man5/tidy.conf.5", "*"),
        "completions/tidy.bash": ("%{bash_completions_dir}/tidy", ""),
        "completions/zsh/_tidy": ("%{zsh_completions_dir}/_tidy", ""),
        "completions/tidy.fish": ("%{fish_completions_dir}/tidy.fish", ""),
    }
    spec = project(tmp_path, "tidy_names.py", "LICENSE.MIT", *found)
    assert "%pyproject_save_files -l tidy_names\n" in spec
    for source, (target, more) in found.items():
        assert f"install -Dpm 0644 {source} %{{buildroot}}{target}\n" in spec
        assert f"\n{target}{more}\n" in spec.partition("%files")[2]


@pytest.mark.parametrize(
    ("requires", "files", "packages"),
    [
        ("setuptools", ["setup.py=setup(ext_modules=[])", "a.c"], ["gcc"]),
        ("pybind11>=2", ["src/a/b.cpp"], ["gcc-c++"]),
        ("maturin>=1,<2", ["src/lib.rs"], ["cargo"]),
        ("Cython", [], ["gcc"]),
        ("setuptools", ["examples/a.c"], []),
    ],
)
def test_what_is_compiled_has_an_architecture(
    tmp_path: Path, requires: str, files: list[str], packages: list[str]
) -> None:
    spec = project(tmp_path, *files, head=f'[build-system]\nrequires = ["{requires}"]\n')
    assert ("BuildArch:      noarch\n" in spec) == (not packages)
    for package in ("gcc", "gcc-c++", "cargo"):
        assert (f"BuildRequires:  {package}\n" in spec) == (package in packages)


def test_modules_that_nothing_tells_are_said_so(tmp_path: Path) -> None:
    spec = project(tmp_path)
    assert "# The project does not say which modules it has" in spec
    assert "%pyproject_save_files -L '*'\n" in spec


def test_a_changelog_of_ours_is_of_the_last_change(tmp_path: Path) -> None:
    project(tmp_path)
    os.utime(tmp_path / "pyproject.toml", (86_400, 86_400))
    spec = render_spec(load_project(tmp_path))
    assert "\n* Fri Jan 02 1970 Packager <packager@example.org> - 1-1\n" in spec


def test_imports_of_type_checkers_do_not_count() -> None:
    source = b"""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import yaml
else:
    import grpc
def f():
    from google.protobuf import json_format
"""
    assert imported_modules(source) >= {"grpc", "google.protobuf", "google.protobuf.json_format"}
    assert "yaml" not in imported_modules(source)
