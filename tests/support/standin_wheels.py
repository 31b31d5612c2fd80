"""Wheels of PyPI in Fedora's layout, byte-compiled for the stand-in's Python."""

from __future__ import annotations

import configparser
import os
import re
import stat
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_cut import Entry
from tests.support.standin_definition import Wheel
from tests.support.standin_tree import TreeError

from trilby.rpm.tools import Inside, Tools

__all__ = ["WheelPart", "fetched", "unpacked", "wheel_parts"]

#: What pip is told about the machine that the wheels are for: manylinux' tags up to a glibc.
GLIBC = range(5, 43)
SCRIPT = """\
#!/usr/bin/python3 -sP
import sys

from {module} import {attribute}

if __name__ == "__main__":
    sys.exit({call}())
"""


class WheelPart:
    """The files of a wheel as the package has them."""

    def __init__(self, folder: Path) -> None:
        self.name = "python3-" + _normal(folder.name.split("-")[0])
        self.version = folder.name.split("-")[1]
        self.entries = {entry.path: entry for entry in _entries(folder)}


def wheel_parts(wanted: dict[str, Wheel], python: str, tools: Tools) -> list[WheelPart]:
    return [WheelPart(folder) for folder in sorted(unpacked(wanted, python, tools).iterdir())]


def unpacked(wanted: dict[str, Wheel], python: str, tools: Tools) -> Path:
    """A folder with one root for each wheel, PROJECT-VERSION."""
    source = fetched(wanted, python)

    def make(folder: Path) -> None:
        for path in sorted(source.iterdir()):
            project, version = path.name.split("-")[:2]
            _unpack(path, folder / f"{project}-{version}", python)
        say("byte-compiling the wheels")
        compiler = [f"python{python}", "-I", "-m", "compileall", "-q", "-f", "-o", "0"]

        def compiled(root: Path) -> None:
            command = [*compiler, "-s", str(root), "-p", "/", str(root)]
            # Some projects ship files that are no Python of this version; they stay as they are.
            tools.run(command, Inside(shared=(str(folder),)), check=False)

        with ThreadPoolExecutor() as pool:
            list(pool.map(compiled, sorted(folder.iterdir())))

    return made_once("wheels", fingerprint(source.name, Path(__file__)), make)


def fetched(wanted: dict[str, Wheel], python: str) -> Path:
    """A folder with the wheels as PyPI has them; this needs no tree of tools."""
    names = [f"{project}=={wheel.version}" for project, wheel in sorted(wanted.items())]

    def make(folder: Path) -> None:
        say(f"fetching {len(names)} wheels")
        _fetch(names, python, folder)
        say("the wheels are here")

    return made_once("fetched", fingerprint(python, *names), make)


def _fetch(names: list[str], python: str, folder: Path) -> None:
    """By the pip of this interpreter, with the machine's own configuration of it."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC] + ["manylinux2014_x86_64", "any"]
    digits = python.replace(".", "")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", "--dest", str(folder)),
            *("--python-version", python, "--implementation", "cp"),
            *(word for abi in (f"cp{digits}", "abi3", "none") for word in ("--abi", abi)),
            *(word for platform in platforms for word in ("--platform", platform)),
            *names,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise TreeError(f"pip cannot fetch the wheels of spec/standin/wheels.yaml:\n{done.stderr}")


def _unpack(wheel: Path, root: Path, python: str) -> None:
    """As the installers do it, without what only they need: RECORD."""
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        described = archive.read(f"{info}/WHEEL").decode()
        lib = "lib" if "Root-Is-Purelib: true" in described else "lib64"
        site = root / "usr" / lib / f"python{python}" / "site-packages"
        for item in archive.infolist():
            if item.is_dir() or item.filename == f"{info}/RECORD":
                continue
            place = _place(item.filename, root, site)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(item))
            program = ".so" in place.name or place.parent == root / "usr/bin"
            place.chmod(0o755 if program else 0o644)
    (site / info / "INSTALLER").write_text("rpm\n")
    _scripts(site / info / "entry_points.txt", root / "usr/bin")


def _place(name: str, root: Path, site: Path) -> Path:
    """``NAME.data/KIND/`` has what does not go beside the modules."""
    found = re.match(r"[^/]+\.data/(\w+)/(.*)", name)
    if found is None:
        return site / name
    kinds = {"purelib": site, "platlib": site, "scripts": root / "usr/bin", "data": root / "usr"}
    return kinds[found[1]] / found[2]


def _scripts(points: Path, folder: Path) -> None:
    if not points.exists():
        return
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(points)
    if not parser.has_section("console_scripts"):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in parser.items("console_scripts"):
        module, _, call = value.split("[")[0].strip().partition(":")
        text = SCRIPT.format(module=module, attribute=call.split(".")[0], call=call)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def _entries(root: Path) -> list[Entry]:
    found = []
    for folder, folders, files in os.walk(root):
        for name in sorted(folders):
            path = "/" + str((Path(folder) / name).relative_to(root))
            if "site-packages/" in path:
                found.append(Entry(path=path, mode=stat.S_IFDIR | 0o755))
        for name in sorted(files):
            source = Path(folder) / name
            path = "/" + str(source.relative_to(root))
            found.append(Entry(path=path, mode=source.stat().st_mode, source=str(source)))
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
