"""Put the exact archive of a layer together again from its tar-split journal and its files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from trilby.storage.tarfault import corrupt, shown
from trilby.storage.tarsplit_read import SEGMENT, Entry, read_journal
from trilby.storage.unpack_tree import clean
from trilby.system.crc64 import update
from trilby.system.syscalls_file import open_in_root

_BLOCK = 256 * 1024
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def assemble(tar_split: str, roots: Sequence[str | int]) -> Iterator[bytes]:
    """Yield the layer's uncompressed archive byte for byte, in blocks of up to about 512 KiB.

    Files are looked up below each of `roots` in turn (paths or directory descriptors: the layer's
    own diff directory first, then its lowers); links in the tree cannot lead outside. Raises
    CorruptLayer if a file is missing, has another size or another CRC-64 than the journal says.
    """
    opened: list[int] = []
    try:
        fds = []
        for root in roots:
            if isinstance(root, str):
                opened.append(os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                fds.append(opened[-1])
            else:
                fds.append(root)
        yield from _gathered(_pieces(tar_split, fds))
    finally:
        for fd in opened:
            os.close(fd)


def packed_size(tar_split: str) -> int:
    """Return the size in bytes of the archive that the journal describes, without reading files.

    Raises CorruptLayer, OSError.
    """
    return sum(
        len(entry.data()) if entry.type == SEGMENT else entry.size
        for entry in read_journal(tar_split)
    )


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield b"".join(held) if len(held) > 1 else piece
            held.clear()
            size = 0
    if held:
        yield b"".join(held)


def _pieces(tar_split: str, roots: list[int]) -> Iterator[bytes]:
    for entry in read_journal(tar_split):
        if entry.type == SEGMENT:
            yield entry.data()
        elif entry.size:
            yield from _content(entry, roots)


def _content(entry: Entry, roots: list[int]) -> Iterator[bytes]:
    name = entry.path()
    fd = _open(name, roots)
    try:
        size = os.fstat(fd).st_size
        if size != entry.size:
            raise corrupt(
                f"cannot export the layer: {shown(name)!r} has {size} bytes, not {entry.size}"
            )
        checksum = 0
        left = size
        while left:
            piece = os.read(fd, min(left, _BLOCK))
            if not piece:
                raise corrupt(f"cannot export the layer: {shown(name)!r} shrank while it was read")
            checksum = update(checksum, piece)
            left -= len(piece)
            yield piece
    finally:
        os.close(fd)
    if checksum.to_bytes(8, "big") != entry.data():
        raise corrupt(f"cannot export the layer: the content of {shown(name)!r} has changed")


def _open(name: bytes, roots: list[int]) -> int:
    """Open the regular file `name` in the first root that has it."""
    path = os.fsdecode(clean(name))
    for root in roots:
        try:
            fd = open_in_root(root, path, _OPEN)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise corrupt(f"cannot export the layer: {shown(name)!r}: {error.strerror}") from error
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    raise corrupt(f"cannot export the layer: {shown(name)!r} is missing from its tree")
