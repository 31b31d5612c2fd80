"""The mount table: what is mounted where, and unmounting whole trees; proc_pid_mountinfo(5)."""

from __future__ import annotations

import errno
import os
import re

import msgspec

from trilby.system.syscalls_file import AT_FDCWD, RESOLVE_NO_XDEV, openat2
from trilby.system.syscalls_mount import MNT_DETACH, UMOUNT_NOFOLLOW, umount2

_ESCAPE = re.compile(r"\\([0-7]{3})")
_UNMOUNT_ROUNDS = 64


class MountEntry(msgspec.Struct, frozen=True):
    """One line of the mount table.

    ``root`` is the part of the file system that is seen; ``options`` are the mount's,
    ``super_options`` the file system's. ``peer_group`` > 0 means shared, ``master`` > 0 slave.
    """

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: tuple[str, ...]
    fs_type: str
    source: str
    super_options: str
    peer_group: int = 0
    master: int = 0

    @property
    def propagation(self) -> str:
        """``shared``, ``slave``, ``shared,slave`` or ``private``, as findmnt says."""
        names = [name for name, on in (("shared", self.peer_group), ("slave", self.master)) if on]
        return ",".join(names) or "private"


def list_mounts(
    under: str | os.PathLike[str] | None = None, *, resolve: bool = True
) -> list[MountEntry]:
    """The mounts that this thread sees, oldest first; only those at or below ``under``.

    ``resolve=False``: ``under`` is an absolute path without links already.
    """
    with open("/proc/thread-self/mountinfo", "rb") as file:
        # Not in text mode, nor splitlines(): paths may have every other character that ends lines.
        lines = os.fsdecode(file.read()).rstrip("\n").split("\n")
    if under is None:
        return [parse_mount(line) for line in lines]
    top = os.path.realpath(under) if resolve else os.fspath(under)
    # Most lines are not wanted: compare before parsing.
    start = _escape(top)
    below = start.rstrip("/") + "/"
    return [
        parse_mount(line)
        for line in lines
        if (target := line.split(" ", 5)[4]) == start or target.startswith(below)
    ]


def parse_mount(line: str) -> MountEntry:
    """One line of mountinfo; raises ValueError when it is none."""
    try:
        before, after = line.split(" - ", 1)
        number, parent, device, root, target, options, *tags = before.split(" ")
        fs_type, source, super_options = (*after.split(" ", 2), "")[:3]
        optional = dict(tag.partition(":")[::2] for tag in tags if tag)
        return MountEntry(
            id=int(number),
            parent=int(parent),
            device=device,
            root=_unescape(root),
            target=_unescape(target),
            options=tuple(options.split(",")),
            fs_type=fs_type,
            source=_unescape(source),
            super_options=super_options,
            peer_group=int(optional.get("shared", "0")),
            master=int(optional.get("master", "0")),
        )
    except ValueError as error:
        raise ValueError(f"not a line of mountinfo: {line!r}") from error


def is_mountpoint(path: str | os.PathLike[str]) -> bool:
    """Whether something is mounted exactly at ``path`` (a bind mount of a file too).

    Asks the kernel about this one path instead of reading the table. A last component that is a
    symbolic link, or a missing path, is no mount point.
    """
    folder, name = os.path.split(os.path.abspath(path))
    if not name:
        return True
    try:
        parent = openat2(AT_FDCWD, folder, os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        flags = os.O_PATH | os.O_NOFOLLOW
        os.close(openat2(parent, name, flags, resolve=RESOLVE_NO_XDEV))
        return False
    except OSError as error:
        if error.errno == errno.EXDEV:
            return True
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise
    finally:
        os.close(parent)


def unmount(path: str | os.PathLike[str], *, lazy: bool = False) -> bool:
    """Unmount the uppermost mount at ``path``; False when nothing is mounted there. OSError."""
    try:
        umount2(os.fspath(path), UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0))
        return True
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise


def unmount_tree(path: str | os.PathLike[str], *, lazy: bool = True) -> int:
    """Unmount everything at and below ``path``, stacked mounts too; how many that were.

    ``lazy`` detaches what is still in use. Raises OSError.
    """
    count = 0
    for _ in range(_UNMOUNT_ROUNDS):
        # A mount is listed after what it stands on, so the last one is free to go first.
        mounts = list_mounts(path)
        if not mounts:
            break
        for mount in reversed(mounts):
            count += unmount(mount.target, lazy=lazy)
    return count


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_octal, text) if "\\" in text else text


def _octal(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))


def _escape(path: str) -> str:
    for char in "\\ \t\n":
        path = path.replace(char, f"\\{ord(char):03o}")
    return path
