"""Descriptors on the loop, terminal sizes, and what waits in an incoming stream."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.cri.streaming.errors import StreamClosed
from trilby.cri.streaming.pipes import FdReader, pump_in, pump_out, write_all
from trilby.cri.streaming.resize import pump_sizes
from trilby.cri.streaming.streams import PIECE, Buffer, Incoming


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """Read end and write end; a test that closes one puts -1 there."""
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        if fd >= 0:
            os.close(fd)


def close(pipe: list[int], at: int) -> None:
    fd, pipe[at] = pipe[at], -1
    os.close(fd)


class Sink:
    """An output that may refuse."""

    def __init__(self, refuse_after: int = 1 << 40) -> None:
        self.data = b""
        self.finished = False
        self._left = refuse_after

    async def write(self, data: Buffer) -> None:
        if len(self.data) >= self._left:
            raise StreamClosed("enough")
        self.data += data

    def finish(self) -> None:
        self.finished = True


async def test_reading_to_the_end(pipe: list[int]) -> None:
    reader = FdReader(pipe[0])
    task = asyncio.create_task(reader.read())
    await asyncio.sleep(0.01)
    os.write(pipe[1], b"hello")
    assert await task == b"hello"
    close(pipe, 1)
    assert await reader.read() == b""


async def test_what_others_write_after_the_end_is_not_waited_for(pipe: list[int]) -> None:
    reader = FdReader(pipe[0])
    os.write(pipe[1], b"mine")
    reader.end()
    os.write(pipe[1], b"others'")
    assert await reader.read() == b"mine"
    assert await reader.read() == b""


async def test_an_end_wakes_a_reader(pipe: list[int]) -> None:
    reader = FdReader(pipe[0])
    task = asyncio.create_task(reader.read())
    await asyncio.sleep(0.01)
    reader.end()
    assert await asyncio.wait_for(task, 5) == b""


async def test_terminals() -> None:
    master, slave = os.openpty()
    reader = FdReader(master, terminal=True)
    os.write(slave, b"hello")
    reader.end()
    assert await reader.read() == b"hello"
    # Somebody still has the other end, and is silent.
    assert await asyncio.wait_for(reader.read(), 5) == b""
    os.write(slave, b"bye")
    os.close(slave)
    assert await reader.read() == b"bye"
    assert await reader.read() == b""
    os.close(master)


async def test_writing_waits_and_notices_the_end(pipe: list[int]) -> None:
    os.set_blocking(pipe[1], False)
    data = os.urandom(1 << 20)
    task = asyncio.create_task(write_all(pipe[1], data))
    await asyncio.sleep(0.01)
    assert not task.done()
    reader, found = FdReader(pipe[0]), b""
    while len(found) < len(data):
        found += await reader.read()
    assert await task and found == data
    close(pipe, 0)
    assert not await write_all(pipe[1], b"x")


async def test_pump_out_goes_on_without_the_client(pipe: list[int]) -> None:
    sink = Sink(refuse_after=PIECE)
    task = asyncio.create_task(pump_out(FdReader(pipe[0]), sink))
    os.set_blocking(pipe[1], False)
    assert await write_all(pipe[1], bytes(1 << 20))
    close(pipe, 1)
    await task
    assert len(sink.data) < 1 << 20 and sink.finished


async def test_pump_in_stops_with_the_command(pipe: list[int]) -> None:
    held = 0

    def hold(change: int) -> None:
        nonlocal held
        held += change

    incoming = Incoming(hold)
    incoming.put(b"one")
    close(pipe, 0)
    await pump_in(incoming, pipe[1])
    incoming.put(b"two")
    assert held == 0
    assert await incoming.read() == b""


@given(st.lists(st.binary(max_size=50), max_size=10), st.integers(0, 10))
def test_incoming_counts_what_waits(pieces: list[bytes], reads: int) -> None:
    held = 0

    def hold(change: int) -> None:
        nonlocal held
        held += change

    async def go() -> None:
        incoming = Incoming(hold)
        for piece in pieces:
            incoming.put(piece)
        waiting = [piece for piece in pieces if piece]
        assert held >= sum(map(len, waiting))
        for expected in waiting[:reads]:
            assert await incoming.read() == expected
        incoming.end()
        incoming.discard()
        assert held == 0
        incoming.put(b"late")
        assert held == 0 and await incoming.read() == b""

    asyncio.run(go())


def sizes_of(pieces: list[bytes]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []

    async def go() -> None:
        incoming = Incoming(lambda change: None)
        for piece in pieces:
            incoming.put(piece)
        incoming.end()
        await pump_sizes(incoming, lambda rows, columns: found.append((rows, columns)))

    asyncio.run(go())
    return found


@given(
    st.lists(st.tuples(st.integers(1, 65535), st.integers(1, 65535)), max_size=5),
    st.sampled_from([b"", b"\n"]),
    st.integers(1, 60),
)
def test_sizes_in_any_pieces(sizes: list[tuple[int, int]], gap: bytes, step: int) -> None:
    texts = [b'{"Width":%d,"Height":%d}' % (columns, rows) + gap for rows, columns in sizes]
    data = b"".join(texts)
    assert sizes_of([data[at : at + step] for at in range(0, len(data), step)]) == sizes


def test_sizes_that_are_none() -> None:
    good = b'{"Width":80,"Height":24}'
    assert sizes_of([b'{"Width":0,"Height":24}', b'{"Width":70000,"Height":1}', good]) == [(24, 80)]
    for bad in (b"}", b'{"Width":"x"}', b'{"Width":-5.5}', b"[]}", bytes(5000)):
        assert sizes_of([good, bad, good]) in ([(24, 80)], [(24, 80)] * 2)
