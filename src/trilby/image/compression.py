"""Compress, decompress and recompress a blob on its way, in a thread beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from trilby.image.copy_errors import InvalidCompression
from trilby.image.streams import GeneratorStream, StreamFailed, ThreadPipe
from trilby.storage.decompress import open_stream

if TYPE_CHECKING:
    from trilby.image.copy_convert import Compression
    from trilby.image.transport import BlobStream

#: Output is handed on in pieces of about this size, in bytes.
PIECE = 256 * 1024

#: isa-l has four levels; its best is near zlib's 3, at several times the speed.
ISAL_LEVELS = 4
DEFAULT_GZIP = 3
DEFAULT_ZSTD = 3


class Compressor(Protocol):
    """What zlib's, isa-l's and zstd's streaming compressors have in common."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressor(kind: Compression, level: int | None) -> Compressor | None:
    """A streaming compressor; None for no compression. Raises InvalidCompression for the level.

    gzip levels 0 to 3 are isa-l's, above zlib's; the output has no time stamp, so it is the same
    every time.
    """
    if kind == "":
        return None
    if kind == "zstd":
        import zstandard

        chosen = DEFAULT_ZSTD if level is None else level
        if not 1 <= chosen <= zstandard.MAX_COMPRESSION_LEVEL:
            raise _wrong_level(kind, chosen, 1, zstandard.MAX_COMPRESSION_LEVEL)
        return zstandard.ZstdCompressor(level=chosen, write_checksum=True).compressobj()
    chosen = DEFAULT_GZIP if level is None else level
    if not 0 <= chosen <= 9:
        raise _wrong_level(kind, chosen, 0, 9)
    gzip_wrapper = 31
    if chosen < ISAL_LEVELS:
        from isal import isal_zlib

        fast: Compressor = isal_zlib.compressobj(chosen, isal_zlib.DEFLATED, gzip_wrapper)
        return fast
    import zlib

    return zlib.compressobj(chosen, zlib.DEFLATED, gzip_wrapper)


def transformed(stream: BlobStream, target: Compression, level: int | None) -> GeneratorStream:
    """The content of ``stream``, whatever its compression, in the compression ``target``.

    Raises CorruptLayer while reading if the stream is damaged, and what the stream raises.
    """
    out = compressor(target, level)
    return GeneratorStream(_transform(stream, out), stream)


async def _transform(stream: BlobStream, out: Compressor | None) -> AsyncGenerator[bytes, None]:
    pipe = ThreadPipe()
    loop = asyncio.get_running_loop()
    feeder = asyncio.ensure_future(pipe.feed(stream))
    # A thread of its own: waiting for input in the shared pool could starve who makes the input.
    with ThreadPoolExecutor(1, "compress") as thread:
        pieces = _pieces(pipe, out)
        try:
            while piece := await loop.run_in_executor(thread, next, pieces, b""):
                yield piece
        except StreamFailed as failed:
            raise failed.reason from None
        finally:
            pipe.abandon()
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)


def _pieces(pipe: ThreadPipe, out: Compressor | None) -> Iterator[bytes]:
    parts: list[bytes] = []
    held = 0
    for block in open_stream(pipe.read).blocks():
        piece = bytes(block) if out is None else out.compress(block)
        if not piece:
            continue
        parts.append(piece)
        held += len(piece)
        if held >= PIECE:
            yield b"".join(parts)
            parts, held = [], 0
    if out is not None:
        parts.append(out.flush())
    if rest := b"".join(parts):
        yield rest


def _wrong_level(kind: str, level: int, lowest: int, highest: int) -> InvalidCompression:
    return InvalidCompression(
        f"compressing layers: {kind} has no level {level}",
        hint=f"use {lowest} to {highest}",
    )
