"""What a Python project's package has besides its modules: compilers, man pages, completions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from trilby.rpm.project import Project
from trilby.system.files import read_bytes_limited

__all__ = ["Shipped", "compilers", "shipped"]

_LIMIT: Final = 4 << 20
# Backends and helpers that are there to compile something.
_COMPILE: Final = frozenset(
    {"cffi", "cython", "maturin", "meson-python", "nanobind", "pybind11", "scikit-build",
     "scikit-build-core", "setuptools-rust"}
)  # fmt: skip
_EXTENSION: Final = re.compile(rb"\b(ext_modules|cffi_modules|rust_extensions)\b")
_COMPILERS: Final = {
    ".c": "gcc",
    ".pyx": "gcc",
    ".cc": "gcc-c++",
    ".cpp": "gcc-c++",
    ".cxx": "gcc-c++",
    ".rs": "cargo",
}
_PAGE: Final = re.compile(r"(?:docs?/)?man(?:/man\d)?/(?P<name>[\w.+-]+\.(?P<section>[1-9]))")
_COMPLETIONS: Final = (
    (re.compile(r"completions?/(?:bash/)?(?P<name>[\w-]+)\.bash"), "%{bash_completions_dir}", ""),
    (re.compile(r"completions?/(?:zsh/)?_(?P<name>[\w-]+)"), "%{zsh_completions_dir}", "_"),
    (re.compile(r"completions?/(?:fish/)?(?P<name>[\w-]+)\.fish"), "%{fish_completions_dir}", ""),
)


class Shipped(msgspec.Struct, frozen=True):
    """A file that the project has and its wheel has not: where it is, and where it goes."""

    source: str
    folder: str
    name: str
    listed: str


def compilers(project: Project, files: Sequence[str]) -> list[str]:
    """The packages of compilers that the build takes; empty for a project in Python alone."""
    text = b""
    for name in ("setup.py", "pyproject.toml"):
        path = os.path.join(project.directory, name)
        if os.path.isfile(path):
            text += read_bytes_limited(path, _LIMIT)
    if not (_COMPILE & set(project.backend) or _EXTENSION.search(text) or b"ext-modules" in text):
        return []
    found = {_COMPILERS.get(os.path.splitext(name)[1], "") for name in files}
    return sorted(found - {""}) or ["gcc"]


def shipped(files: Sequence[str]) -> Iterator[Shipped]:
    """Man pages in ``man/`` or ``doc/man/``, and completions in ``completions/``."""
    for path in files:
        if match := _PAGE.fullmatch(path):
            folder = f"%{{_mandir}}/man{match['section']}"
            # rpm compresses them, by what means is the distribution's business.
            yield Shipped(path, folder, match["name"], f"{folder}/{match['name']}*")
        for pattern, folder, before in _COMPLETIONS:
            if match := pattern.fullmatch(path):
                after = ".fish" if path.endswith(".fish") else ""
                name = f"{before}{match['name']}{after}"
                yield Shipped(path, folder, name, f"{folder}/{name}")
