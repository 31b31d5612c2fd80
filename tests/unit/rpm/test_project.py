"""Facts out of setup.cfg and pyproject.toml, and errors that say where."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilby.rpm.errors import InvalidProject
from trilby.rpm.licenses import spdx
from trilby.rpm.project import load_project

ROOT = Path(__file__).resolve().parents[3]

SETUP_CFG = """\
[metadata]
name = Say-Hello
version = attr: hello.__version__
description = Says hello
license = MIT
license_files = LICENSE
url = https://example.org/hello

[options]
package_dir =
    = src
install_requires =
    # why it is needed
    rich >= 13

[options.extras_require]
test = pytest

[options.entry_points]
console_scripts =
    hello = hello:main
"""
PYPROJECT = """\
[build-system]
requires = ["setuptools"]

[project]
name = "say-hello"
description = "Says hello"
version = "1.2"
license = {text = "MIT"}
dependencies = ["rich >= 13"]
urls = {Homepage = "https://example.org/hello"}

[project.optional-dependencies]
test = ["pytest"]

[project.scripts]
hello = "hello:main"
"""


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_setup_cfg(tmp_path: Path) -> None:
    module = 'import nothing_that_is_there\n__version__ = "1.2"\n'
    found = load_project(make(tmp_path, {"setup.cfg": SETUP_CFG, "src/hello/__init__.py": module}))
    assert (found.name, found.version, found.summary) == ("Say-Hello", "1.2", "Says hello")
    assert (found.license, found.url, found.license_files) == (
        "MIT",
        "https://example.org/hello",
        ("LICENSE",),
    )
    assert [each.name for each in found.requires] == ["rich"]
    assert found.scripts == {"hello": "hello:main"}
    assert found.packages() == ("hello",)
    assert [each.name for each in found.extras["test"]] == ["pytest"]


def test_pyproject(tmp_path: Path) -> None:
    found = load_project(make(tmp_path, {"pyproject.toml": PYPROJECT, "hello/__init__.py": ""}))
    assert (found.name, found.version, found.license) == ("say-hello", "1.2", "MIT")
    assert found.url == "https://example.org/hello"
    assert found.packages() == ("hello",)


def test_a_version_from_a_file(tmp_path: Path) -> None:
    text = PYPROJECT.replace('version = "1.2"', 'dynamic = ["version"]')
    text += '\n[tool.setuptools.dynamic]\nversion = {file = "VERSION"}\n'
    found = load_project(make(tmp_path, {"pyproject.toml": text, "VERSION": "3.4\n"}))
    assert found.version == "3.4"


def test_a_version_that_only_a_tool_knows(tmp_path: Path) -> None:
    text = PYPROJECT.replace('version = "1.2"', 'dynamic = ["version"]')
    make(tmp_path, {"pyproject.toml": text})
    with pytest.raises(InvalidProject, match=r"pyproject\.toml:7: .*--version"):
        load_project(tmp_path)
    assert load_project(tmp_path, version="9").version == "9"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rich >= 13", "rich >=", r"setup\.cfg:14: .*rich >="),
        ("name = Say-Hello", "", r"setup\.cfg:1: the project has no name"),
        ("[options]", "[options", r"setup\.cfg:9:"),
        ("attr: hello.__version__", "attr: hello.__wrong__", "plain string to hello.__wrong__"),
        ("attr: hello.__version__", "file: NONE", r"setup\.cfg:3: NONE: No such file"),
        ("[options]", "[metadata]", r"setup\.cfg:9: section 'metadata' already exists"),
        ("rich >= 13", "rich @ https://example.org/x.whl", "names a place to fetch from"),
        ("rich >= 13", "rich ~= 13", "two numbers"),
    ],
)
def test_errors_say_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = SETUP_CFG.replace(old, new)
    make(tmp_path, {"setup.cfg": text, "src/hello/__init__.py": '__version__ = "1"\n'})
    with pytest.raises(InvalidProject, match=message):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "say-hello"', "name = 5", r"toml:5: name has to be a string"),
        ('["rich >= 13"]', '"rich"', r"toml:9: dependencies has to be a list"),
        ('["rich >= 13"]', '[\n  "rich",\n  "x >> 2",\n]', r"toml:11: .*'>> 2'"),
        ('test = ["pytest"]', 'test = ["pytest"]\nbad = ["x >> 2"]', r"toml:14: .*'>> 2'"),
        ('description = "Says hello"\n', "", r"toml:4: the project has no description .*write"),
        ('version = "1.2"', 'version = "1.2"\nreadme = "NONE"', r"toml:8: NONE: No such file"),
    ],
)
def test_errors_of_a_pyproject_say_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PYPROJECT
    make(tmp_path, {"pyproject.toml": PYPROJECT.replace(old, new, 1)})
    with pytest.raises(InvalidProject, match=message):
        load_project(tmp_path)


def test_a_version_of_a_module_that_is_none(tmp_path: Path) -> None:
    make(tmp_path, {"setup.cfg": SETUP_CFG, "src/hello/__init__.py": "x = 1\ndef broken(:\n"})
    with pytest.raises(InvalidProject, match=r"hello/__init__\.py:2: invalid syntax"):
        load_project(tmp_path)


def test_a_version_that_setup_cfg_does_not_say(tmp_path: Path) -> None:
    make(tmp_path, {"setup.cfg": SETUP_CFG.replace("version = attr: hello.__version__\n", "")})
    with pytest.raises(InvalidProject, match=r"setup\.cfg:1: .*--version"):
        load_project(tmp_path)
    assert load_project(tmp_path, version="9").version == "9"


@pytest.mark.parametrize(
    ("table", "files"),
    [
        ('[tool.hatch.version]\npath = "src/hello/about.py"\n',
         {"src/hello/about.py": 'VERSION: str = "7.1"\n', "src/hello/__init__.py": ""}),
        ("", {"hello.py": '"""Greets.\n\nMore.\n"""\n__version__ = "7.1"\n'}),
        ("", {"PKG-INFO": "Metadata-Version: 2.1\nVersion: 7.1\nSummary: Greets\n\nMore.\n"}),
    ],
)  # fmt: skip
def test_what_backends_compute_is_looked_up(
    tmp_path: Path, table: str, files: dict[str, str]
) -> None:
    """hatch's file, flit's module, and what a source distribution has of all of them."""
    head = '[project]\nname = "hello"\ndynamic = ["version", "description"]\n'
    if "src/hello/about.py" in files:
        head += 'description = "Greets"\n'
    found = load_project(make(tmp_path, {"pyproject.toml": head + table, **files}))
    assert (found.version, found.summary) == ("7.1", "Greets")


def test_tables_of_poetry(tmp_path: Path) -> None:
    text = """\
[tool.poetry]
name = "thing"
version = "1.2"
description = "Is a thing"
license = "MIT License"
homepage = "https://example.org/thing"
[tool.poetry.dependencies]
python = "^3.9"
click = "^8.1"
old = "^0.2.3"
rich = {version = "~13.2", extras = ["a"], markers = "os_name == 'nt'"}
left-out = {version = "*", optional = true}
any = "*"
exact = "2.0"
both = ">=1,<3"
[tool.poetry.scripts]
thing = "thing:main"
"""
    make(tmp_path, {"pyproject.toml": text, "thing/__init__.py": "", "other/x.py": ""})
    found = load_project(tmp_path)
    assert (found.name, found.version, found.license) == ("thing", "1.2", "MIT")
    assert (found.python_requires, found.url) == (">=3.9,<4", "https://example.org/thing")
    assert (found.packages(), found.scripts) == (("thing",), {"thing": "thing:main"})
    written = {
        each.name: ",".join(f"{operator}{version}" for operator, version in each.clauses)
        for each in found.requires
    }
    assert written == {"click": ">=8.1,<9", "old": ">=0.2.3,<0.3", "rich": ">=13.2,<13.3",
                       "any": "", "exact": "==2.0", "both": ">=1,<3"}  # fmt: skip
    rich = next(each for each in found.requires if each.name == "rich")
    assert (rich.extras, rich.marker) == (("a",), "os_name == 'nt'")
    make(tmp_path, {"pyproject.toml": text.replace('version = "1.2"', "version = 1.2")})
    with pytest.raises(InvalidProject, match=r"toml:3: version has to be a string"):
        load_project(tmp_path)


def test_tables_of_flit(tmp_path: Path) -> None:
    text = """\
[tool.flit.metadata]
module = "thing"
home-page = "https://example.org/thing"
requires = ["click >= 8"]
classifiers = ["License :: OSI Approved :: ISC License (ISCL)"]
[tool.flit.scripts]
thing = "thing:main"
"""
    module = '"""Is a thing."""\n__version__ = "1.2"\n'
    found = load_project(make(tmp_path, {"pyproject.toml": text, "thing.py": module}))
    assert (found.name, found.version, found.summary) == ("thing", "1.2", "Is a thing")
    assert (found.license, found.url) == ("ISC", "https://example.org/thing")
    assert (found.packages(), found.scripts) == (("thing",), {"thing": "thing:main"})


@pytest.mark.parametrize(
    ("text", "classifier", "expression"),
    [
        ("MIT", "", "MIT"),
        ("MIT License", "", "MIT"),
        ("GPL-2.0-or-later WITH Classpath-exception-2.0", "", None),
        ("(MIT OR Apache-2.0)", "", None),
        ("", "License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("A whole text.\nOf two lines.", "License :: OSI Approved :: MIT License", "MIT"),
        ("A whole text.\nOf two lines.", "", ""),
        ("", "License :: OSI Approved :: BSD License", ""),
        ("Our own terms", "", None),
    ],
)
def test_licences_are_expressions(text: str, classifier: str, expression: str | None) -> None:
    assert spdx(text, [classifier]) == (text if expression is None else expression)


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_bytes(b"[metadata]\nname = na\xefve\n")
    with pytest.raises(InvalidProject, match=r"setup\.cfg:2: it is not UTF-8"):
        load_project(tmp_path)


def test_a_summary_is_one_line_without_a_stop(tmp_path: Path) -> None:
    text = SETUP_CFG.replace("Says hello", "Says hello.\n    And more.")
    make(tmp_path, {"setup.cfg": text, "src/hello/__init__.py": '__version__ = "1"\n'})
    assert load_project(tmp_path).summary == "Says hello"


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(InvalidProject, match="neither a setup.cfg"):
        load_project(tmp_path)


def test_this_project() -> None:
    found = load_project(ROOT)
    assert found.name == "trilby"
    assert set(found.scripts) == {"trilby", "trilbyd"}
    assert "check" in found.extras
