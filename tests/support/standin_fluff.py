"""Small packages for what goes wrong on a node: conflicts, failing scriptlets, what is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.support.standin import signing_key
from tests.support.standin_cache import made_once, say
from tests.support.standin_tree import TreeError, tools

from trilby.rpm.repo import KEY_NAME, Repository, make_repository
from trilby.rpm.sign import sign
from trilby.rpm.tools import Inside

__all__ = ["Fluff", "fluff"]

RPMFLUFF = "0.6.7"
BUILDER = Path(__file__).with_name("rpmfluff_build.py")


class Fluff(msgspec.Struct, frozen=True, kw_only=True):
    """A package of text files; ``pre`` and ``post`` are its scriptlets."""

    name: str
    version: str = "1"
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    obsoletes: tuple[str, ...] = ()
    files: dict[str, str] = {}
    pre: str = ""
    post: str = ""


def fluff(name: str, packages: Sequence[Fluff], folder: Path, *, signed: bool = True) -> Repository:
    """Build packages into ``folder``, a repository that says they are signed also if they are not."""
    library = _library()
    folder.mkdir()
    inside = Inside(
        shared=(str(folder), str(library), str(BUILDER.parent)), env={"PYTHONPATH": str(library)}
    )
    command = ["python3", str(BUILDER), str(folder)]
    tools().run(command, inside, stdin=msgspec.json.encode(packages))
    built = sorted(map(str, folder.glob("*.rpm")))
    assert len(built) == len(packages), built
    if signed:
        sign(built, signing_key(), tools=tools())
    make_repository(str(folder), tools=tools(), key=signing_key())
    return Repository(name, str(folder), key=str(folder / KEY_NAME))


def _library() -> Path:
    """rpmfluff as PyPI has it; it needs RPM's bindings, which the tree's Python has."""

    def make(folder: Path) -> None:
        say("fetching rpmfluff")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--dest", str(folder)]
        done = subprocess.run(
            [*command, f"rpmfluff=={RPMFLUFF}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise TreeError(f"pip cannot fetch rpmfluff:\n{done.stderr}")
        archive = next(folder.glob("rpmfluff-*.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()
        unpacked = next(folder.iterdir())
        (unpacked / "rpmfluff").rename(folder / "rpmfluff")
        shutil.rmtree(unpacked)

    return made_once("rpmfluff", RPMFLUFF, make)
