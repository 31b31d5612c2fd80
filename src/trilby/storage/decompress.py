"""Decompress a layer's stream as it comes, and know the digest of both sides at its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from trilby.storage.tarfault import corrupt

if TYPE_CHECKING:
    from typing import Protocol

    class _Decoder(Protocol):
        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


CHUNK = 256 * 1024  # read from the compressed side at a time
BLOCK = 256 * 1024  # handed on from the uncompressed side at a time: stays in the cache
_ZSTD_WINDOW = 1 << 27
_XZ_MEMORY = 100 << 20

_MAGICS = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)


def sniff(head: bytes) -> str:
    """Name the compression that the first bytes of a stream show: none, gzip, zstd, bzip2, xz."""
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    if len(head) >= 4 and int.from_bytes(head[:4], "little") & ~0xF == 0x184D2A50:
        return "zstd"  # a skippable frame comes first
    return "none"


class _Source:
    """The compressed side: counts and hashes what is read, and gives the sniffed head back."""

    __slots__ = ("_head", "_read", "hasher", "size")

    def __init__(self, read: Callable[[int], bytes], *, hashed: bool) -> None:
        self._read = read
        self._head = b""
        self.hasher = hashlib.sha256() if hashed else None
        self.size = 0

    def peek(self, size: int) -> bytes:
        """Return the first `size` bytes (fewer only at the end) without consuming them."""
        while len(self._head) < size:
            chunk = self._read(CHUNK)
            if not chunk:
                break
            self._head += chunk
        return self._head

    def read(self, size: int = CHUNK) -> bytes:
        """Return the next bytes, b"" at the end."""
        if self._head:
            chunk, self._head = self._head[:size], self._head[size:]
        else:
            chunk = self._read(size)
        self.size += len(chunk)
        if self.hasher is not None:
            self.hasher.update(chunk)
        return chunk


class LayerStream:
    """The uncompressed side of a stream; digests are complete once it is read to its end."""

    __slots__ = ("_blocks", "_hasher", "_left", "_source", "compression", "size")

    def __init__(self, source: _Source, compression: str, *, diff_id: bool) -> None:
        self.compression = compression
        self.size = 0
        self._source = source
        self._hasher = hashlib.sha256() if diff_id else None
        self._blocks = self._hashed(_decoded(source, compression))
        self._left = b""

    @property
    def compressed_size(self) -> int:
        """How many bytes of the compressed side have been read."""
        return self._source.size

    def _hashed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.size += len(block)
            if self._hasher is not None:
                self._hasher.update(block)
            yield block

    def blocks(self) -> Iterator[bytes]:
        """Yield the uncompressed bytes in blocks of at most 256 KiB, all of them."""
        if self._left:
            block, self._left = self._left, b""
            yield block
        yield from self._blocks

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes (all of them if negative), b"" at the end."""
        if size < 0:
            return b"".join(self.blocks())
        if not self._left:
            self._left = next(self._blocks, b"")
        data, self._left = self._left[:size], self._left[size:]
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer` with the next bytes; return their number, 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def drain(self) -> None:
        """Read what is left, so that both digests cover the whole stream."""
        self._left = b""
        for _ in self._blocks:
            pass

    def diff_id(self) -> str:
        """Return "sha256:<hex>" of the uncompressed bytes read so far; "" if not asked for."""
        return f"sha256:{self._hasher.hexdigest()}" if self._hasher is not None else ""

    def compressed_digest(self) -> str:
        """Return "sha256:<hex>" of the compressed bytes read so far; "" if not asked for."""
        hasher = self._source.hasher
        if self.compression == "none" and hasher is None:
            return self.diff_id()
        return f"sha256:{hasher.hexdigest()}" if hasher is not None else ""


def open_stream(
    read: Callable[[int], bytes],
    compression: str | None = None,
    *,
    diff_id: bool = True,
    compressed_digest: bool = True,
) -> LayerStream:
    """Open the stream that `read` yields; `compression` None sniffs gzip, zstd, bzip2, xz or none.

    The flags leave out a digest that the caller has already. Raises CorruptLayer (also while
    reading) if the stream is damaged or breaks off; what `read` raises passes through.
    """
    source = _Source(read, hashed=compressed_digest)
    if compression is None:
        compression = sniff(source.peek(6))
    if compression == "none" and diff_id:
        source.hasher = None  # both sides are the same bytes
    return LayerStream(source, compression, diff_id=diff_id)


def _decoded(source: _Source, compression: str) -> Iterator[bytes]:
    if compression == "none":
        return iter(source.read, b"")
    if compression == "zstd":
        return _zstd(source)
    makers = {"gzip": _gzip_decoder, "bzip2": _bzip2_decoder, "xz": _xz_decoder}
    if compression not in makers:
        raise corrupt(f"cannot decompress the layer: unknown compression {compression!r}")
    return _members(source, makers[compression], compression)


def _gzip_decoder() -> _Decoder:
    from isal import igzip_lib

    decoder: _Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decoder


def _bzip2_decoder() -> _Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _xz_decoder() -> _Decoder:
    import lzma

    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


def _members(source: _Source, make: Callable[[], _Decoder], what: str) -> Iterator[bytes]:
    """Decode the concatenated members (streams) of a gzip, bzip2 or xz file."""
    decoder = make()
    data = b""
    while True:
        if decoder.eof:
            # Zero bytes between members are padding; tar's blocking leaves them at the end, too.
            data = decoder.unused_data.lstrip(b"\0")
            while not data:
                data = source.read()
                if not data:
                    return
                data = data.lstrip(b"\0")
            decoder = make()
        elif not data and decoder.needs_input:
            data = source.read()
            if not data:
                raise corrupt(f"cannot decompress the layer: its {what} stream breaks off")
        try:
            block = decoder.decompress(data, BLOCK)
        except (OSError, EOFError, ValueError, _error_of(what)) as error:
            raise corrupt(f"cannot decompress the layer: damaged {what} stream: {error}") from error
        data = b""
        if block:
            yield block


def _error_of(what: str) -> type[Exception]:
    """Return the error that a decoder has of its own."""
    if what == "gzip":
        from isal import igzip_lib

        error: object = igzip_lib.IsalError  # its stub calls it an instance
        assert isinstance(error, type) and issubclass(error, Exception)
        return error
    if what == "xz":
        import lzma

        return lzma.LZMAError
    return EOFError


def _zstd(source: _Source) -> Iterator[bytes]:
    import zstandard

    from trilby.storage.zstdframes import ZstdFrames

    frames = ZstdFrames()

    class Followed:
        """The source with an ear: the reader below cannot say that a frame broke off."""

        def read(self, size: int) -> bytes:
            chunk = source.read(size)
            frames.feed(chunk)
            return chunk

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    reader = decompressor.stream_reader(
        Followed(),  # type: ignore[arg-type] # needs nothing of IO[bytes] but read
        read_size=CHUNK,
        read_across_frames=True,
        closefd=False,
    )
    while True:
        try:
            block = reader.read(BLOCK)
        except zstandard.ZstdError as error:
            raise corrupt(f"cannot decompress the layer: damaged zstd stream: {error}") from error
        if not block:
            break
        yield block
    if not frames.complete():
        raise corrupt("cannot decompress the layer: its zstd stream breaks off")
