"""The tree that the stand-in is cut from and whose programs are used: Debian, by mmdebstrap.

The mirror is the machine's own, from apt's configuration; TRILBY_DEBIAN_MIRROR names another one,
which a machine that is not Debian needs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace
from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_definition import FILES, Definition, definition

from trilby.rpm.tools import Tools

__all__ = ["TreeError", "debian_mirror", "tools", "tree", "unpack"]

APT = Path("/etc/apt")
#: Hosts of the machine's configuration that have Debian itself, and not only its updates.
_ARCHIVE = re.compile(r"https?://\S+/debian/?$")


class TreeError(Exception):
    """The tree cannot be made; the message says what to do."""


def tree(newest: bool = False) -> Path:
    """The tree's folder, made now if it is not there; ``newest`` holds no package back."""
    wanted = definition()
    if newest:
        wanted = replace(wanted, held=[])
    facts = (wanted.suite, wanted.older, *wanted.held, *_packages(wanted), *wanted.never)
    return made_once("tree", fingerprint(*facts, FILES / "rpm"), lambda path: _make(path, wanted))


def tools() -> Tools:
    """The tree's programs: rpmbuild, dnf5, dnf-3, createrepo_c, rpmlint, gpg."""
    return Tools(str(tree()))


def debian_mirror() -> str:
    """Raises TreeError when the machine's own configuration names none."""
    chosen = os.environ.get("TRILBY_DEBIAN_MIRROR")
    if chosen:
        return chosen
    files = [APT / "sources.list", *(APT / "sources.list.d").glob("*")]
    for path in sorted(path for path in files if path.is_file()):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] not in (["URIs:"], ["deb"]):
                continue
            for word in words[1:]:
                if _ARCHIVE.match(word):
                    return word.rstrip("/")
    raise TreeError(f"no mirror of Debian in {APT}: name one in TRILBY_DEBIAN_MIRROR")


def _packages(wanted: Definition) -> list[str]:
    return sorted({name for names in wanted.install.values() for name in names})


def _make(folder: Path, wanted: Definition) -> None:
    preferences = folder / "preferences"
    held = " ".join(wanted.held)
    pin = f"Package: {held}\nPin: release n={wanted.suite}\nPin-Priority: -1\n"
    preferences.write_text(pin if held else "")
    root = folder / ".debian"
    say(f"unpacking Debian {wanted.suite} ({len(_packages(wanted))} packages and what they need)")
    options = (
        "--variant=essential",
        # Nobody needs it after a power failure.
        "--dpkgopt=force-unsafe-io",
        *_without(wanted.never),
        f'--setup-hook=cp {preferences} "$1/etc/apt/preferences.d/standin"',
    )
    _mmdebstrap(root, folder / "log", options, _packages(wanted), (wanted.suite, wanted.older))
    # rpm looks into the database where Fedora has it, also when it is only a tool here.
    shutil.copytree(FILES / "rpm", root, dirs_exist_ok=True)
    _flatten(folder, root)


def unpack(
    root: Path, log: Path, suite: str, packages: Sequence[str], never: Sequence[str] = ()
) -> None:
    """Packages and what they need, with no script of theirs run: files to take from.

    Paths that a pattern of ``never`` fits are left out.
    """
    _mmdebstrap(root, log, ("--variant=extract", *_without(never)), packages, (suite,))


def _without(patterns: Sequence[str]) -> list[str]:
    return [f"--dpkgopt=path-exclude={pattern}" for pattern in patterns]


def _mmdebstrap(
    root: Path, log: Path, options: Sequence[str], packages: Sequence[str], suites: Sequence[str]
) -> None:
    if shutil.which("mmdebstrap") is None:
        raise TreeError("mmdebstrap is not installed: run scripts/setup")
    mirror = debian_mirror()
    with log.open("wb") as out:
        done = subprocess.run(
            [
                *("mmdebstrap", "--mode=root", *options),
                f"--include={','.join(packages)}",
                '--aptopt=Acquire::Check-Valid-Until "false"',
                '--aptopt=APT::Install-Recommends "false"',
                '--aptopt=Acquire::Languages "none"',
                *(suites[0], str(root)),
                *(f"deb {mirror} {suite} main" for suite in suites),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"},
        )
    if done.returncode:
        raise TreeError(f"mmdebstrap failed:\n{log.read_text(errors='replace')[-4000:]}")


def _flatten(folder: Path, root: Path) -> None:
    """What was made is the folder itself."""
    for name in ("preferences", "log"):
        (folder / name).unlink()
    for path in root.iterdir():
        path.rename(folder / path.name)
    root.rmdir()
