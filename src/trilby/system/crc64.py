"""CRC-64 with the ISO 3309 polynomial, as Go's hash/crc64 and so tar-split's records have it."""

from __future__ import annotations

import functools
from collections.abc import Callable

from trilby.system.errors import HostError

_POLYNOMIAL = 0xD800000000000000
_MASK = 0xFFFFFFFFFFFFFFFF


def update(crc: int, data: bytes | bytearray | memoryview) -> int:
    """The checksum after ``data``, given the one before it (0 at first)."""
    return _implementation()(crc, data)


@functools.cache
def _implementation() -> Callable[[int, bytes | bytearray | memoryview], int]:
    try:
        return _isal()
    except (HostError, AttributeError):
        return update_python


def _isal() -> Callable[[int, bytes | bytearray | memoryview], int]:
    """ISA-L's vectorised function; ctypes gives up the interpreter's lock around it."""
    import ctypes

    from trilby.system.syscalls import load_library

    function = load_library("libisal.so.2").crc64_iso_refl
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64]
    as_char = ctypes.c_char

    def isal_update(crc: int, data: bytes | bytearray | memoryview) -> int:
        if isinstance(data, memoryview) and (data.readonly or not data.contiguous):
            data = bytes(data)
        if isinstance(data, bytes):
            return int(function(crc, data, len(data)))
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        return int(function(crc, ctypes.byref(as_char.from_buffer(data)), size)) if size else crc

    return isal_update


def update_python(crc: int, data: bytes | bytearray | memoryview) -> int:
    """The same without ISA-L: slow, but needs nothing."""
    table = _table()
    crc ^= _MASK
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _MASK


@functools.cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ _POLYNOMIAL if value & 1 else value >> 1
        table.append(value)
    return tuple(table)
