"""Read a tar-split journal; see trilby.storage.tarsplit for what is in one."""

from __future__ import annotations

import os
from binascii import a2b_base64
from collections.abc import Iterator

import msgspec

from trilby.storage.decompress import open_stream
from trilby.storage.tarfault import corrupt

FILE = 1
SEGMENT = 2
_MAX_LINE = 64 << 20


class Entry(msgspec.Struct, frozen=True):
    """A line: a file (`name`, `size`, `payload` its CRC-64) or a segment (`payload` raw bytes)."""

    type: int
    name: str = ""
    name_raw: str = ""
    size: int = 0
    payload: str | None = None
    position: int = -1

    def path(self) -> bytes:
        """Return the member's name as the archive has it."""
        return a2b_base64(self.name_raw) if self.name_raw else self.name.encode()

    def data(self) -> bytes:
        """Return the payload's bytes."""
        return a2b_base64(self.payload) if self.payload else b""


def read_journal(path: str) -> Iterator[Entry]:
    """Yield the entries of the journal at `path` in order. Raises CorruptLayer, OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        stream = open_stream(
            lambda size: os.read(fd, size), "gzip", diff_id=False, compressed_digest=False
        )
        decoder = msgspec.json.Decoder(Entry)
        for number, line in enumerate(_lines(stream.blocks(), path)):
            try:
                entry = decoder.decode(line)
            except msgspec.DecodeError as error:
                raise corrupt(f"cannot read {path}: entry {number}: {error}") from error
            if entry.type not in (FILE, SEGMENT) or entry.position not in (-1, number):
                raise corrupt(f"cannot read {path}: entry {number} is none of a tar-split journal")
            yield entry
    finally:
        os.close(fd)


def _lines(blocks: Iterator[bytes], path: str) -> Iterator[bytes]:
    rest: list[bytes] = []
    held = 0
    for block in blocks:
        lines = block.split(b"\n")
        if len(lines) > 1:
            yield b"".join((*rest, lines[0]))
            yield from lines[1:-1]
            rest, held = [], 0
        rest.append(lines[-1])
        held += len(lines[-1])
        if held > _MAX_LINE:
            raise corrupt(f"cannot read {path}: an endless line in a tar-split journal")
    if held:
        yield b"".join(rest)
