"""This project's own RPMs, built in a fresh root from the stand-in: today's, and an older version.

The older one has the same sources but for its version and a comment in its configuration: what
differs between two releases as far as a package manager is concerned.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.standin import repository, signing_key
from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_spec import RELEASE
from tests.support.standin_tree import tools

from trilby.rpm.build import Place, build_in_root
from trilby.rpm.prepare import prepare
from trilby.rpm.project import load_project
from trilby.rpm.repo import KEY_NAME, Repository, make_repository
from trilby.rpm.sign import sign
from trilby.rpm.source import files_of

__all__ = ["OLDER", "ROOT", "built", "older", "today"]

ROOT = Path(__file__).resolve().parents[2]
OLDER = "0.0.9"
#: Tests, documents and pages are no part of the packages; the rest is.
INPUTS = re.compile(r"(src|spec|roles|playbooks|meta|plugins)/|[^/]+$")


def today() -> Repository:
    """Packages of the sources as they are here."""
    return built("trilby", _leave)


def older() -> Repository:
    """Packages with a lower version."""
    return built(f"trilby-{OLDER}", _make_older)


def built(name: str, change: Callable[[Path], None]) -> Repository:
    """A signed repository ``name`` with packages of a changed copy of the sources."""
    rawhide = repository()
    files = [path for path in files_of(str(ROOT)) if INPUTS.match(path)]
    sources = (ROOT / path for path in files)
    mark = fingerprint(rawhide.directory, inspect.getsource(change), *files, *sources)

    def make(folder: Path) -> None:
        copy = folder / "copy"
        for path in files:
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, copy / path, follow_symlinks=False)
        change(copy)
        source = prepare(str(copy), str(folder / "source"))
        # The unit tests run where they are tests, and not in each of these builds.
        defines = {"_without_check": "1"}
        place = Place(
            tools=tools(),
            repositories=(rawhide,),
            release=RELEASE,
            defines=defines,
            check=False,
        )
        done = build_in_root(source, place, str(folder), progress=lambda step: say(step.text()))
        shutil.rmtree(copy)
        shutil.rmtree(folder / "source")
        sign(done.packages, signing_key(), tools=tools())
        make_repository(str(folder), tools=tools(), key=signing_key())

    path = made_once(name, mark, make)
    return Repository(name, str(path), key=str(path / KEY_NAME))


def _leave(copy: Path) -> None:
    """As they are."""


def _make_older(copy: Path) -> None:
    """Its version is in setup.cfg and in the changelog; its configuration begins otherwise."""
    spec = copy / "spec/trilby.spec.in"
    text = spec.read_text()
    mark = "\n%check\n"
    assert mark in text
    comment = f"sed -i '1i # Of {OLDER}.' %{{buildroot}}%{{_sysconfdir}}/trilby/trilby.conf"
    spec.write_text(text.replace(mark, f"{comment}\n{mark}"))
    version = load_project(str(copy)).version
    for name in ("setup.cfg", "spec/changelog"):
        text = (copy / name).read_text()
        assert version in text
        (copy / name).write_text(text.replace(version, OLDER))
