"""Streams of blob bytes: from memory and files, watched and checked, and over to a thread.

Every class here is a :class:`trilby.image.transport.BlobStream`, except :class:`ThreadPipe`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING

from trilby.image.errors import CorruptImage
from trilby.oci.digest import Digest, hasher

if TYPE_CHECKING:
    from trilby.image.transport import BlobStream
    from trilby.oci.descriptor import Descriptor

CHUNK = 1 << 20


class BytesStream:
    """A blob that is in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        if self.data:
            yield self.data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def close(self) -> None:
        return None


class FileStream:
    """``size`` bytes of an open file from ``offset``; owns the descriptor unless ``borrowed``.

    Threads do the reading. ``fd`` and ``offset`` are public so that a destination with blocking
    code of its own can read without the detour through the event loop.
    """

    def __init__(self, fd: int, size: int, *, offset: int = 0, borrowed: bool = False) -> None:
        self.fd = fd
        self.size = size
        self.offset = offset
        self._borrowed = borrowed

    @classmethod
    def open(cls, path: str) -> FileStream:
        """Raises OSError."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return cls(fd, os.fstat(fd).st_size)

    def read_at(self, done: int) -> bytes:
        """The next chunk after ``done`` bytes; blocking. b"" at the end."""
        return os.pread(self.fd, min(CHUNK, self.size - done), self.offset + done)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        done = 0
        while done < self.size:
            chunk = await asyncio.to_thread(self.read_at, done)
            if not chunk:
                return
            done += len(chunk)
            yield chunk

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def close(self) -> None:
        if not self._borrowed and self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class GeneratorStream:
    """A stream made of a generator that reads from another stream."""

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], upstream: BlobStream, size: int = -1
    ) -> None:
        self._chunks = chunks
        self._upstream = upstream
        self.size = size

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def close(self) -> None:
        await self._chunks.aclose()
        await self._upstream.close()


def checked(stream: BlobStream, descriptor: Descriptor, what: str) -> GeneratorStream:
    """The same bytes; a wrong length or digest raises CorruptImage, at the latest at the end."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        state = hasher(descriptor.digest.algorithm)
        done = 0
        async for chunk in stream:
            done += len(chunk)
            if 0 <= descriptor.size < done:
                raise wrong_size(what, descriptor, done)
            state.update(chunk)
            yield chunk
        if descriptor.size >= 0 and done != descriptor.size:
            raise wrong_size(what, descriptor, done)
        found = Digest.parse(f"{descriptor.digest.algorithm}:{state.hexdigest()}")
        if found != descriptor.digest:
            raise wrong_digest(what, descriptor.digest, found)

    return GeneratorStream(chunks(), stream, stream.size)


def watched(
    stream: BlobStream,
    report: Callable[[int], None],
    step: int = CHUNK // 2,
    *,
    limit: Descriptor | None = None,
) -> GeneratorStream:
    """The same bytes; ``report`` gets the number of bytes so far, every ``step`` or more bytes.

    More bytes than ``limit`` says raise CorruptImage at once, before they fill a disk.
    """

    async def chunks() -> AsyncGenerator[bytes, None]:
        done = told = 0
        async for chunk in stream:
            done += len(chunk)
            if limit is not None and 0 <= limit.size < done:
                raise wrong_size("layer", limit, done)
            if done - told >= step:
                told = done
                report(done)
            yield chunk
        if done != told:
            report(done)

    return GeneratorStream(chunks(), stream, stream.size)


async def read_all(stream: BlobStream, limit: int, what: str) -> bytes:
    """The whole of a small blob; more than ``limit`` bytes raises OversizedDocument. Closes it."""
    from trilby.image.copy_errors import OversizedDocument

    parts: list[bytes] = []
    total = 0
    try:
        async for chunk in stream:
            total += len(chunk)
            if total > limit:
                raise OversizedDocument(
                    f"reading {what}: it is longer than the limit of {limit} bytes",
                    hint="no honest image has one so large; ask the image's publisher",
                )
            parts.append(chunk)
    finally:
        await stream.close()
    return b"".join(parts)


def wrong_size(what: str, descriptor: Descriptor, found: int) -> CorruptImage:
    relation = "at least " if found > descriptor.size else ""
    return CorruptImage(
        f"copying {what} {descriptor.digest}: it has {relation}{found} bytes, "
        f"the manifest says {descriptor.size}",
        hint="the source is damaged or the transfer was cut; try again or another mirror",
    )


def wrong_digest(what: str, wanted: Digest, found: Digest) -> CorruptImage:
    return CorruptImage(
        f"copying {what} {wanted}: the bytes that came have the digest {found}",
        hint="the source is damaged or dishonest; try again or another mirror",
    )


class PipeAbandoned(Exception):
    """The thread that should read has stopped."""


class ThreadPipe:
    """Chunks from the event loop to one thread that reads them as from a file; bounded.

    The loop's side awaits :meth:`feed`; the thread's side calls :meth:`read`, which may return
    fewer bytes than asked for (like a raw file), and calls :meth:`abandon` when it stops early.
    """

    def __init__(self, limit: int = 4 * CHUNK) -> None:
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._lock = threading.Condition()
        self._ended = False
        self._abandoned = False
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._rest: memoryview | None = None

    async def feed(self, stream: BlobStream) -> None:
        """Send the whole stream. A failure of the stream is raised in the thread *and* here."""
        try:
            async for chunk in stream:
                await self._put(chunk)
        except PipeAbandoned:
            return
        except BaseException as error:
            self._finish(error)
            raise
        self._finish(None)

    async def _put(self, chunk: bytes) -> None:
        while True:
            with self._lock:
                if self._abandoned:
                    raise PipeAbandoned
                if self._held < self._limit:
                    self._chunks.append(chunk)
                    self._held += len(chunk)
                    if len(self._chunks) == 1:
                        self._lock.notify()
                    return
                self._room.clear()
            await self._room.wait()

    def _finish(self, error: BaseException | None) -> None:
        with self._lock:
            self._ended = True
            self._error = error
            self._lock.notify()

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; b"" at the end. Blocks; raises what the stream raised."""
        if self._rest is None:
            chunk = self._next_chunk()
            if size < 0 or len(chunk) <= size:
                return chunk
            self._rest = memoryview(chunk)
        if size < 0 or len(self._rest) <= size:
            piece, self._rest = bytes(self._rest), None
            return piece
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return piece

    def _next_chunk(self) -> bytes:
        with self._lock:
            while not self._chunks:
                if self._error is not None:
                    raise StreamFailed(self._error) from self._error
                if self._ended or self._abandoned:
                    return b""
                self._lock.wait()
            chunk = self._chunks.popleft()
            was_full = self._held >= self._limit
            self._held -= len(chunk)
            wake = was_full and self._held < self._limit
        if wake:
            self._wake_feeder()
        return chunk

    def abandon(self) -> None:
        """Stop reading; the feeder stops too. Safe in any thread and more than once."""
        with self._lock:
            self._abandoned = True
            self._chunks.clear()
            self._held = 0
            self._lock.notify()
        self._wake_feeder()

    def _wake_feeder(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._room.set)
        except RuntimeError:  # the loop is closed: nobody feeds any more
            return


class StreamFailed(Exception):
    """Raised in the reading thread when the stream failed; ``reason`` is why.

    Code between may raise it again "from None", which forgets its cause.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason
