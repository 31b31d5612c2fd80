"""The client's two ways to streams against one daemon: they have to do the same."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.daemon import DaemonProcess

from trilby.cri.client import engine as client
from trilby.cri.client.engine import RemoteEngine
from trilby.pods.attach import Stream
from trilby.pods.errors import StreamFailed
from trilby.pods.exec import ExecStreams


@pytest.fixture(params=["websocket", "spdy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """SPDY is for runtimes of another name than ours."""
    if request.param == "spdy":
        monkeypatch.setattr(client, "RUNTIME_NAME", "another")
    return str(request.param)


@asynccontextmanager
async def running(daemon: DaemonProcess, *command: str, **changes: object) -> AsyncIterator[str]:
    """A container that runs the command."""
    sandbox = await daemon.run_pod("streams")
    try:
        yield await daemon.run(sandbox, "main", *command, **changes)
    finally:
        await daemon.remove_pod(sandbox)


async def collect(
    engine: RemoteEngine, container: str, argv: list[str], given: bytes | None
) -> tuple[int, bytes, bytes]:
    """Exit code and output of a command."""
    loop = asyncio.get_running_loop()
    ends = [os.pipe(), os.pipe()]
    stdin = None
    if given is not None:
        stdin, write = os.pipe()
        writing = loop.run_in_executor(None, _write, write, given)
    reading = [loop.run_in_executor(None, _read, read) for read, _ in ends]
    session = await engine.exec(
        container, argv, streams=ExecStreams(stdin=stdin, stdout=ends[0][1], stderr=ends[1][1])
    )
    try:
        code = await session.wait()
    finally:
        await session.close()
        for _, write_end in ends:
            os.close(write_end)
        if stdin is not None:
            await writing
            os.close(stdin)
    return code, await reading[0], await reading[1]


def _read(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


def _write(fd: int, data: bytes) -> None:
    with open(fd, "wb") as file:
        file.write(data)


async def test_output_input_and_exit_codes(trilbyd: DaemonProcess, way: str) -> None:
    async with running(trilbyd) as container, RemoteEngine(trilbyd.socket) as engine:
        script = "echo out; echo err >&2; exit 3"
        assert await collect(engine, container, ["sh", "-c", script], None) == (
            3,
            b"out\n",
            b"err\n",
        )
        data = os.urandom(3_000_000)
        assert await collect(engine, container, ["cat"], data) == (0, data, b"")
        assert await collect(engine, container, ["wc", "-c"], b"") == (0, b"0\n", b"")
        with pytest.raises(StreamFailed, match="nonesuch"):
            await collect(engine, container, ["/nonesuch"], None)


async def test_terminals(trilbyd: DaemonProcess, way: str) -> None:
    async with running(trilbyd) as container, RemoteEngine(trilbyd.socket) as engine:
        session = await engine.exec(
            container,
            ["sh", "-c", "echo go; read x; stty size; exit $x"],
            streams=ExecStreams(stdin=0),
            tty=True,
        )
        loop = asyncio.get_running_loop()
        said = b""
        async with asyncio.timeout(20):
            while b"go" not in said:
                said += await loop.run_in_executor(None, os.read, session.terminal, 1000)
            session.resize(33, 99)
            os.write(session.terminal, b"6\n")
            while piece := await loop.run_in_executor(None, os.read, session.terminal, 1000):
                said += piece
            assert await session.wait() == 6
        await session.close()
        assert b"33 99" in said


async def test_attached(trilbyd: DaemonProcess, way: str) -> None:
    async with running(trilbyd, "cat", stdin=True, stdin_once=True) as container:
        async with RemoteEngine(trilbyd.socket) as engine:
            attached = await engine.attach(container)
            assert (attached.tty, attached.has_stdin) == (False, True)
            await attached.write(b"there and back")
            attached.close_stdin()
            async with asyncio.timeout(20):
                found = [piece async for piece in attached]
                assert await engine.wait_container(container) == 0
            attached.close()
    assert {stream for stream, _ in found} == {Stream.STDOUT}
    assert b"".join(data for _, data in found) == b"there and back"


async def until_found(daemon: DaemonProcess, container: str, found: bool) -> None:
    """Wait until the command runs, or runs no more."""
    async with asyncio.timeout(20):
        while True:
            code, listed = await daemon.exec(container, "ps")
            assert code == 0
            if (b"sleep 98765" in listed) is found:
                return
            await asyncio.sleep(0.05)


async def test_breaking_off_ends_the_command(trilbyd: DaemonProcess, way: str) -> None:
    async with running(trilbyd) as container, RemoteEngine(trilbyd.socket) as engine:
        with open(os.devnull, "wb") as nothing:
            streams = ExecStreams(stdout=nothing.fileno(), stderr=nothing.fileno())
            session = await engine.exec(container, ["sleep", "98765"], streams=streams)
            await until_found(trilbyd, container, True)
            await session.close()
        await until_found(trilbyd, container, False)
