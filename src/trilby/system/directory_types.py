"""Whether a file system says in its directories what kind each entry is: d_type of getdents64(2).

Python's os.scandir() asks again where it does not, so it cannot tell.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Final

from trilby.system.syscalls import check, libc

__all__ = ["has_types"]

_BUFFER: Final = 32 << 10
# d_ino, d_off, d_reclen, d_type
_HEAD: Final = struct.Struct("=QqHB")
_DT_UNKNOWN: Final = 0


def has_types(fd: int) -> bool:
    """Whether the first entries of a directory, "." and ".." among them, have types. OSError."""
    buffer = ctypes.create_string_buffer(_BUFFER)
    size = check(libc.getdents64(ctypes.c_int(fd), buffer, ctypes.c_size_t(_BUFFER)), "getdents64")
    raw, place = buffer.raw[:size], 0
    while place < size:
        _, _, length, kind = _HEAD.unpack_from(raw, place)
        if kind == _DT_UNKNOWN:
            return False
        place += length
    return True
