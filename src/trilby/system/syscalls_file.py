"""System calls on files that Python's os module lacks: openat2, syncfs, file flags, handles."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from typing import Final

from trilby.system.syscalls import check, libc, os_error, syscall

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10
RESOLVE_CACHED: Final = 0x20

FS_IMMUTABLE_FL: Final = 0x10
FS_APPEND_FL: Final = 0x20
_FS_IOC_GETFLAGS: Final = 0x80086601
_FS_IOC_SETFLAGS: Final = 0x40086602

AT_EMPTY_PATH: Final = 0x1000
AT_FDCWD: Final = -100
_OPENAT2: Final = 437
_MAX_HANDLE: Final = 128


def openat2(dir_fd: int, path: str, flags: int, mode: int = 0, *, resolve: int = 0) -> int:
    """Open ``path`` below ``dir_fd`` with RESOLVE_* rules; openat2(2). O_CLOEXEC is added."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    while True:
        fd = syscall(_OPENAT2, dir_fd, os.fsencode(path), how, len(how))
        if fd >= 0:
            return fd
        # EAGAIN: a rename raced with a ".." walk; the kernel asks to try again.
        if ctypes.get_errno() not in (11, 4):
            raise os_error("openat2", path)


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open a path as a process whose root is ``root_fd`` would; links cannot lead outside."""
    return openat2(root_fd, path, flags, mode, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def syncfs(fd: int) -> None:
    """Write the file system that ``fd`` is on to its disk; syncfs(2)."""
    check(libc.syncfs(ctypes.c_int(fd)), "syncfs")


def get_file_flags(fd: int) -> int:
    """The FS_*_FL flags of lsattr(1)."""
    value = struct.unpack("=I", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, b"\0" * 8)[:4])[0]
    return int(value)


def set_file_flags(fd: int, flags: int) -> None:
    """Set the FS_*_FL flags of chattr(1)."""
    fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("=Q", flags))


def name_to_handle(dir_fd: int, path: str) -> tuple[int, bytes]:
    """(handle type, opaque handle) of a file, which identifies it beyond inode reuse.

    name_to_handle_at(2); for a cgroup v2 directory the handle is its 64-bit id.
    """
    buffer = ctypes.create_string_buffer(struct.pack("=Ii", _MAX_HANDLE, 0), 8 + _MAX_HANDLE)
    mount_id = ctypes.c_int(0)
    flags = AT_EMPTY_PATH if not path else 0
    result = libc.name_to_handle_at(
        ctypes.c_int(dir_fd), os.fsencode(path), buffer, ctypes.byref(mount_id), ctypes.c_int(flags)
    )
    check(result, "name_to_handle_at", path)
    size, kind = struct.unpack_from("=Ii", buffer.raw)
    return int(kind), buffer.raw[8 : 8 + size]
