"""Streams of blob bytes, and the pipe from the event loop to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.image.copy_errors import OversizedDocument
from trilby.image.errors import CorruptImage
from trilby.image.streams import (
    BytesStream,
    FileStream,
    StreamFailed,
    ThreadPipe,
    checked,
    read_all,
    watched,
)
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest


class Chunks:
    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self.size = sum(map(len, chunks))
        self.sent = 0
        self._chunks_ = chunks
        self._error = error

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        for chunk in self._chunks_:
            self.sent += 1
            yield chunk
        if self._error is not None:
            raise self._error

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def close(self) -> None:
        return None


def read_to_end(pipe: ThreadPipe, size: int) -> bytes:
    parts = []
    while part := pipe.read(size):
        assert size < 0 or len(part) <= size
        parts.append(part)
    return b"".join(parts)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=30),
    size=st.integers(1, 400),
    limit=st.integers(1, 500),
)
def test_a_pipe_carries_the_same_bytes(chunks: list[bytes], size: int, limit: int) -> None:
    async def carry() -> bytes:
        pipe = ThreadPipe(limit)
        reading = asyncio.ensure_future(asyncio.to_thread(read_to_end, pipe, size))
        await pipe.feed(Chunks(chunks))
        return await reading

    assert asyncio.run(carry()) == b"".join(chunks)


async def test_a_full_pipe_stops_the_source() -> None:
    pipe = ThreadPipe(limit=1000)
    stream = Chunks([bytes(400)] * 50)
    feeding = asyncio.ensure_future(pipe.feed(stream))
    for _ in range(100):
        await asyncio.sleep(0)
    assert stream.sent == 4
    assert len(await asyncio.to_thread(read_to_end, pipe, 100)) == 20_000
    await feeding


async def test_what_breaks_the_stream_reaches_the_thread() -> None:
    pipe = ThreadPipe()
    reading = asyncio.ensure_future(asyncio.to_thread(read_to_end, pipe, -1))
    with pytest.raises(ConnectionError):
        await pipe.feed(Chunks([b"some"], ConnectionError("gone")))
    with pytest.raises(StreamFailed) as caught:
        await reading
    assert isinstance(caught.value.reason, ConnectionError)


async def test_a_reader_that_stops_ends_the_feeding() -> None:
    pipe = ThreadPipe(limit=10)
    feeding = asyncio.ensure_future(pipe.feed(Chunks([bytes(10)] * 5)))
    await asyncio.sleep(0)
    pipe.abandon()
    await asyncio.wait_for(feeding, 5)
    assert pipe.read(1) == b""


def described(data: bytes, size: int | None = None) -> Descriptor:
    return Descriptor("text/plain", Digest.of(data), len(data) if size is None else size)


async def test_checked_streams() -> None:
    data = b"content"
    assert await read_all(checked(BytesStream(data), described(data), "x"), 100, "x") == data
    with pytest.raises(CorruptImage, match="digest"):
        await read_all(checked(BytesStream(b"CONTENT"), described(data), "x"), 100, "x")
    with pytest.raises(CorruptImage, match="at least 7 bytes"):
        await read_all(checked(BytesStream(data), described(data, 6), "x"), 100, "x")
    with pytest.raises(CorruptImage, match="has 7 bytes, the manifest says 8"):
        await read_all(checked(BytesStream(data), described(data, 8), "x"), 100, "x")


async def test_small_blobs_have_a_limit() -> None:
    with pytest.raises(OversizedDocument):
        await read_all(BytesStream(bytes(11)), 10, "config")


async def test_watched_streams_tell_now_and_then() -> None:
    told: list[int] = []
    stream = watched(Chunks([bytes(10)] * 10), told.append, step=25)
    await read_all(stream, 1000, "x")
    assert told == [30, 60, 90, 100]


async def test_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    whole = FileStream.open(str(path))
    part = FileStream(whole.fd, 20, offset=50, borrowed=True)
    assert await read_all(part, 100, "x") == bytes(range(50, 70))
    assert await read_all(whole, 1000, "x") == bytes(range(200))
    await whole.close()
