"""Which modules a project has: what backends are told, and what they find by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilby.rpm.project import load_project

HEAD = '[project]\nname = "Say.Hello"\nversion = "1"\ndescription = "x"\n'
CFG = "[metadata]\nname = Say.Hello\nversion = 1\ndescription = x\n[options]\n"


def packages(root: Path, metadata: str, text: str, files: str) -> tuple[str, ...]:
    (root / metadata).write_text(text)
    for name in files.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return load_project(root).packages()


@pytest.mark.parametrize(
    ("table", "files", "found"),
    [
        # flit, hatch and Poetry: the module that has the project's name, alone or as a folder
        ("", "say_hello.py setup.py", "say_hello"),
        ("", "say_hello/__init__.py other/__init__.py tests/__init__.py", "say_hello"),
        ("", "src/say_hello/__init__.py", "say_hello"),
        # a namespace, which has no __init__.py
        ("", "src/say/hello/__init__.py src/lone.py src/x.egg-info/PKG-INFO", "lone say"),
        # setuptools: every package that is found
        ("[tool.setuptools]\n", "a/__init__.py say_hello/__init__.py docs/__init__.py",
         "a say_hello"),
        ('[tool.setuptools]\npy-modules = ["one", "two"]\n', "say_hello.py", "one two"),
        ('[tool.setuptools]\npackages = ["a", "a.b"]\n', "c/__init__.py", "a"),
        ('[tool.setuptools]\npackage-dir = {"" = "lib"}\n', "lib/a/__init__.py b/__init__.py", "a"),
        ('[tool.setuptools.packages.find]\nwhere = ["lib"]\n', "lib/a/__init__.py", "a"),
        ('[tool.flit.module]\nname = "greet"\n', "greet.py", "greet"),
        ('[tool.hatch.build.targets.wheel]\npackages = ["src/a", "b/"]\n', "", "a b"),
        ('[tool.poetry]\npackages = [{include = "a/b", from = "x"}]\n', "", "a"),
        ('[tool.maturin]\nmodule-name = "a._b"\n', "", "a"),
        ("", "README", ""),
    ],
)  # fmt: skip
def test_of_a_pyproject(tmp_path: Path, table: str, files: str, found: str) -> None:
    assert packages(tmp_path, "pyproject.toml", HEAD + table, files) == tuple(found.split())


@pytest.mark.parametrize(
    ("options", "files", "found"),
    [
        ("py_modules = one", "one.py", "one"),
        ("packages = find:\npackage_dir =\n    = src", "src/a/__init__.py b/__init__.py", "a"),
        ("packages = find:\n[options.packages.find]\nwhere = lib", "lib/a/__init__.py", "a"),
        ("packages = find:\npy_modules = one", "a/__init__.py tests/__init__.py", "a one"),
        ("packages =\n    a\n    a.b", "c/__init__.py", "a"),
    ],
)
def test_of_a_setup_cfg(tmp_path: Path, options: str, files: str, found: str) -> None:
    assert packages(tmp_path, "setup.cfg", f"{CFG}{options}\n", files) == tuple(found.split())
