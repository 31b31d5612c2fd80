"""Specs: Trilby's own is what its template and setup.cfg give, and others' are whole."""

from __future__ import annotations

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
    assert "%pyproject_save_files a\n" in spec
    assert ("%{_bindir}/ab" in spec) == scripts
    assert ("%files -n python3-a-b -f %{pyproject_files}" in spec) != scripts


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
