"""The mount system calls, old (mount, umount2) and new (fsopen to mount_setattr).

The new calls carry O_CLOEXEC always. Paths are absolute or relative to a directory descriptor; an
empty path means the descriptor itself.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from trilby.system.syscalls import check, libc, os_error, syscall

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REMOUNT: Final = 0x20
MS_NOSYMFOLLOW: Final = 0x100
MS_NOATIME: Final = 0x400
MS_NODIRATIME: Final = 0x800
MS_BIND: Final = 0x1000
MS_MOVE: Final = 0x2000
MS_REC: Final = 0x4000
MS_UNBINDABLE: Final = 0x20000
MS_PRIVATE: Final = 0x40000
MS_SLAVE: Final = 0x80000
MS_SHARED: Final = 0x100000
MS_RELATIME: Final = 0x200000
MS_STRICTATIME: Final = 0x1000000

MNT_FORCE: Final = 1
MNT_DETACH: Final = 2
MNT_EXPIRE: Final = 4
UMOUNT_NOFOLLOW: Final = 8

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000

OPEN_TREE_CLONE: Final = 1
_OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
_MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40
_FSOPEN_CLOEXEC: Final = 1
_FSMOUNT_CLOEXEC: Final = 1

FSCONFIG_SET_FLAG: Final = 0
FSCONFIG_SET_STRING: Final = 1
FSCONFIG_SET_FD: Final = 5
FSCONFIG_CMD_CREATE: Final = 6
FSCONFIG_CMD_RECONFIGURE: Final = 7

MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
MOUNT_ATTR__ATIME: Final = 0x70
MOUNT_ATTR_NOATIME: Final = 0x10
MOUNT_ATTR_STRICTATIME: Final = 0x20
MOUNT_ATTR_NODIRATIME: Final = 0x80
MOUNT_ATTR_IDMAP: Final = 0x100000
MOUNT_ATTR_NOSYMFOLLOW: Final = 0x200000

# Limits of the kernel's copies: a page for mount(2) data, 256 bytes for one fsconfig(2) string.
MOUNT_DATA_MAX: Final = 4095
FSCONFIG_STRING_MAX: Final = 255

_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_FSPICK: Final = 433
_MOUNT_SETATTR: Final = 442


def mount(source: str | None, target: str, fs_type: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    result = libc.mount(
        None if source is None else os.fsencode(source),
        os.fsencode(target),
        None if fs_type is None else fs_type.encode(),
        ctypes.c_ulong(flags),
        os.fsencode(data) if data else None,
    )
    check(result, "mount", target)


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(libc.umount2(os.fsencode(target), ctypes.c_int(flags)), "umount", target)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """A descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy; open_tree(2)."""
    flags |= _OPEN_TREE_CLOEXEC | (0 if path else AT_EMPTY_PATH)
    return check(syscall(_OPEN_TREE, dir_fd, os.fsencode(path), flags), "open_tree", path)


def move_mount(from_fd: int, to_path: str, *, to_fd: int = AT_FDCWD) -> None:
    """Attach the detached mount ``from_fd`` at ``to_path``; move_mount(2)."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if to_path else _MOVE_MOUNT_T_EMPTY_PATH)
    result = syscall(_MOVE_MOUNT, from_fd, b"", to_fd, os.fsencode(to_path), flags)
    check(result, "move_mount", to_path)


def fsopen(fs_type: str) -> int:
    """A new file system context; fsopen(2)."""
    return check(syscall(_FSOPEN, fs_type.encode(), _FSOPEN_CLOEXEC), "fsopen", fs_type)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """Set a string option, of at most FSCONFIG_STRING_MAX bytes; fsconfig(2)."""
    _fsconfig(fd, FSCONFIG_SET_STRING, key, os.fsencode(value), 0)


def fsconfig_flag(fd: int, key: str) -> None:
    """Set an option that has no value."""
    _fsconfig(fd, FSCONFIG_SET_FLAG, key, None, 0)


def fsconfig_fd(fd: int, key: str, value_fd: int) -> None:
    """Set an option to a descriptor; overlay takes layers so since Linux 6.13."""
    _fsconfig(fd, FSCONFIG_SET_FD, key, None, value_fd)


def fsconfig_create(fd: int) -> None:
    """Make the superblock from the options set so far."""
    _fsconfig(fd, FSCONFIG_CMD_CREATE, None, None, 0)


def _fsconfig(fd: int, command: int, key: str | None, value: bytes | None, aux: int) -> None:
    name = None if key is None else key.encode()
    if syscall(_FSCONFIG, fd, command, name, value, aux) < 0:
        error = os_error(f"fsconfig {key or 'create'}")
        detail = _messages(fd)
        if detail:
            raise OSError(error.errno, f"{error.strerror}: {detail}")
        raise error


def _messages(fd: int) -> str:
    """What the file system context has to say about its failure, one line."""
    lines: list[str] = []
    while len(lines) < 16:
        try:
            lines.append(os.read(fd, 4096).decode(errors="replace").strip())
        except OSError:
            break
    return "; ".join(lines)


def fsmount(fd: int, attributes: int = 0) -> int:
    """A detached mount of the context's superblock; fsmount(2)."""
    return check(syscall(_FSMOUNT, fd, _FSMOUNT_CLOEXEC, attributes), "fsmount")


def mount_setattr(
    fd: int,
    path: str = "",
    *,
    recursive: bool = False,
    set_flags: int = 0,
    clear_flags: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Change attributes of a mount, with ``recursive`` of all below it too; mount_setattr(2)."""
    attributes = struct.pack("=QQQQ", set_flags, clear_flags, propagation, userns_fd)
    flags = (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    result = syscall(_MOUNT_SETATTR, fd, os.fsencode(path), flags, attributes, len(attributes))
    check(result, "mount_setattr", path or None)
