"""Programs of Debian's with what they need, for images: a shell, curl, nft, nginx.

Debian's packages are unpacked once, without their scripts, and kept like the stand-in's tree. An
image gets only the programs that it names and the libraries that those are linked with, so that it
is small and pulled quickly.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_tree import unpack

__all__ = ["add_programs", "base", "packages_root"]

SUITE = "trixie"
PACKAGES = (
    *("apache2-bin", "bash", "bind9-dnsutils", "busybox", "conntrack", "coreutils", "curl"),
    *("findutils", "grep", "hostname", "iperf", "iproute2", "ipset", "iptables", "kmod"),
    *("libc-bin", "netcat-openbsd", "nftables", "nginx", "perl-base", "procps", "sed", "stress"),
    *("util-linux", "media-types"),
)
NEVER = ("doc", "man", "locale", "info", "i18n", "zoneinfo")
FOLDERS = (
    *("dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var/tmp"),
    *("usr/bin", "usr/sbin", "usr/lib", "usr/lib64"),
)
PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/bin/sh\n"
    "www-data:x:33:33:www-data:/var/www:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/:/bin/sh\n"
)
GROUP = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nmail:x:8:\nwww-data:x:33:\nnogroup:x:65534:\n"
LOADER = "/lib64/ld-linux-x86-64.so.2"
PATH = ("usr/local/bin", "usr/sbin", "usr/bin")


def packages_root() -> Path:
    """The unpacked packages; raises TreeError."""
    mark = fingerprint(SUITE, *PACKAGES, *NEVER)
    return made_once("images-tree", mark, _unpack) / "root"


def _unpack(folder: Path) -> None:
    say(f"unpacking Debian {SUITE} for images")
    never = [f"/usr/share/{name}/*" for name in NEVER]
    unpack(folder / "root", folder / "log", SUITE, PACKAGES, never)


def base(root: Path) -> None:
    """The folders, users and groups that every image has, and no program."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/run").symlink_to("../run")
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")


def add_programs(root: Path, names: Iterable[str]) -> None:
    """Copy programs of Debian's and their libraries below an image's root.

    A name is a program, a path, or ``link=program`` for one that is called otherwise there.
    ``busybox`` comes with a link for each of its applets that nothing else has.
    """
    names = list(names)
    if not names:
        return
    tree = packages_root()
    for name in names:
        link, _, wanted = name.rpartition("=")
        found = _find(tree, wanted)
        _copy(tree, root, found)
        if link:
            (root / link).parent.mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(f"/{found}")
    if (root / "usr/bin/busybox").exists():
        listed = _inside(tree, "/usr/bin/busybox", "--list").split()
        for applet in listed:
            place = root / "usr/bin" / applet
            if not place.is_symlink() and not place.exists():
                place.symlink_to("busybox")


def _find(tree: Path, wanted: str) -> str:
    if "/" in wanted:
        return wanted
    for folder in PATH:
        if (tree / folder / wanted).exists() or (tree / folder / wanted).is_symlink():
            return f"{folder}/{wanted}"
    raise FileNotFoundError(f"{wanted} is in no package for images")


def _copy(tree: Path, root: Path, path: str) -> None:
    """A file, what it links to, or a folder; and the libraries of programs."""
    source, place = tree / path, root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        if not place.is_symlink():
            place.symlink_to(source.readlink())
        target = source.readlink()
        whole = tree / str(target)[1:] if target.is_absolute() else source.parent / target
        _copy(tree, root, os.path.relpath(os.path.normpath(whole), tree))
    elif source.is_dir():
        for inner in sorted(source.iterdir()):
            _copy(tree, root, str(inner.relative_to(tree)))
    elif not place.exists():
        shutil.copy2(source, place)
        for library in _libraries(tree, source):
            _copy(tree, root, library)


def _libraries(tree: Path, program: Path) -> list[str]:
    """What the dynamic linker would load; nothing for a script or a static program."""
    with program.open("rb") as opened:
        if opened.read(4) != b"\x7fELF":
            return []
    listed = _inside(tree, LOADER, "--list", f"/{program.relative_to(tree)}", fails=True)
    found = re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listed, re.MULTILINE)
    return [f"usr{path}" if path.startswith("/lib") else path[1:] for path in found]


def _inside(tree: Path, *command: str, fails: bool = False) -> str:
    done = subprocess.run(
        ["chroot", str(tree), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin"},
    )
    if done.returncode and not fails:
        raise subprocess.SubprocessError(f"{command} in {tree}: {done.stderr}")
    return done.stdout
