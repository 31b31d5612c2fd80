"""The tar-split journal: what an archive held besides its files' data, to rebuild it exactly.

A journal is gzip'd lines of JSON, as containers/storage writes ``<id>.tar-split.gz``: segments of
raw bytes (type 2) and files (type 1, with size and CRC-64/ISO of the data, which stays in the
tree).
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class _Compressor(Protocol):
        def compress(self, data: bytes, /) -> bytes: ...
        def flush(self) -> bytes: ...


SEGMENT_LIMIT = 1 << 20
_FLUSH = 256 * 1024
# Bytes that stand for themselves in JSON. Go escapes <, > and & too; so do we.
_PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\<>&'))


class JournalWriter:
    """Write a journal to a descriptor (which stays open). Not safe for several threads."""

    __slots__ = ("_buffer", "_buffered", "_compressor", "_fd", "_position")

    def __init__(self, fd: int) -> None:
        from isal import isal_zlib

        self._fd = fd
        self._compressor: _Compressor = isal_zlib.compressobj(level=1, wbits=31)
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._position = 0

    def segment(self, data: bytes) -> None:
        """Add raw bytes, cut into entries of at most 1 MiB."""
        for start in range(0, len(data), SEGMENT_LIMIT):
            piece = data[start : start + SEGMENT_LIMIT]
            self._add(
                b'{"type":2,"payload":"%b","position":%d}\n'
                % (b2a_base64(piece, newline=False), self._position)
            )
            self._position += 1

    def file(self, raw: bytes, name: bytes, size: int, checksum: int) -> None:
        """Add the raw bytes before a member, and the member with its data's size and CRC-64."""
        if len(raw) > SEGMENT_LIMIT:
            self.segment(raw)
            raw = b""
        position = self._position
        line = b""
        if raw:
            line = b'{"type":2,"payload":"%b","position":%d}\n' % (
                b2a_base64(raw, newline=False),
                position,
            )
            position += 1
        if name.translate(None, _PLAIN):
            key = _name_members(name)
        else:
            key = b'"name":"%b",' % name if name else b""
        if size:
            line += b'{"type":1,%b"size":%d,"payload":"%b","position":%d}\n' % (
                key,
                size,
                b2a_base64(checksum.to_bytes(8, "big"), newline=False),
                position,
            )
        else:
            line += b'{"type":1,%b"payload":null,"position":%d}\n' % (key, position)
        self._position = position + 1
        self._add(line)

    def _add(self, line: bytes) -> None:
        self._buffer.append(line)
        self._buffered += len(line)
        if self._buffered >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        data = self._compressor.compress(b"".join(self._buffer))
        self._buffer.clear()
        self._buffered = 0
        _write_all(self._fd, data)

    def close(self) -> None:
        """Write what is buffered and the end of the gzip stream."""
        self._flush()
        _write_all(self._fd, self._compressor.flush())


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _name_members(name: bytes) -> bytes:
    """Return the JSON members that say a name which is not plain ASCII."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return b'"name_raw":"%b",' % b2a_base64(name, newline=False)
    return (
        b'"name":"%b",'
        % "".join(
            c if (c >= " " and c not in '"\\<>&\u2028\u2029') else f"\\u{ord(c):04x}" for c in text
        ).encode()
    )


def checksum_function() -> Callable[[int, bytes], int]:
    """Return the CRC-64 update function: (checksum so far, data) -> checksum."""
    from trilby.system.crc64 import update

    return update
