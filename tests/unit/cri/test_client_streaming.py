"""The client's WebSockets against a server that speaks both versions of the protocol."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web

from trilby.cri.client.attach import open_attach
from trilby.cri.client.channels import Outcome, Wanted
from trilby.cri.client.exec import open_exec
from trilby.cri.client.streaming import Streaming
from trilby.cri.client.websocket import V4, V5
from trilby.pods.attach import Stream
from trilby.pods.errors import StreamFailed
from trilby.pods.exec import ExecStreams

SUCCESS = b'\x03{"metadata":{},"status":"Success"}'
Script = Callable[[web.WebSocketResponse], Awaitable[None]]


def failure(code: int) -> bytes:
    """What Kubernetes' servers say of a command that did not end with 0."""
    causes = [{"reason": "ExitCode", "message": str(code)}]
    status = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
    return b"\x03" + json.dumps(status).encode()


@asynccontextmanager
async def served(script: Script, *protocols: str) -> AsyncIterator[tuple[Streaming, str]]:
    """A streaming server, and the client's session with its address."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(protocols=protocols)
        await answer.prepare(request)
        await script(answer)
        await answer.close()
        return answer

    app = web.Application()
    app.router.add_get("/exec/token", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    streaming = Streaming()
    try:
        yield streaming, f"http://127.0.0.1:{listener.getsockname()[1]}/exec/token"
    finally:
        await streaming.close()
        await runner.cleanup()


class Pipes:
    """Pipes for the three streams of a command."""

    def __init__(self, given: bytes | None = None) -> None:
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        stdin = None
        self._ends = [out, err]
        if given is not None:
            stdin, write = os.pipe()
            os.write(write, given)
            os.close(write)
            self._ends.append(stdin)
        self.streams = ExecStreams(stdin=stdin, stdout=out, stderr=err)

    def read(self) -> tuple[bytes, bytes]:
        for end in self._ends:
            os.close(end)
        found = []
        for end in (self.out, self.err):
            with open(end, "rb") as file:
                found.append(file.read())
        return found[0], found[1]


async def echo(answer: web.WebSocketResponse) -> None:
    """``cat``, until the client says that its input has ended."""
    async for message in answer:
        assert message.type is WSMsgType.BINARY
        if message.data[0] == 255:
            assert message.data == b"\xff\x00"
            await answer.send_bytes(b"\x02bye")
            await answer.send_bytes(failure(3))
            return
        await answer.send_bytes(b"\x01" + message.data[1:])


async def test_input_and_its_end() -> None:
    pipes = Pipes(b"some words")
    async with served(echo, V5, V4) as (streaming, url):
        session = await open_exec(streaming, url, pipes.streams, tty=False)
        assert session.terminal == -1
        assert await session.wait() == 3
        await session.close()
    assert pipes.read() == (b"some words", b"bye")


async def test_version_4_cannot_say_that_the_input_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(answer: web.WebSocketResponse) -> None:
        message = await answer.receive()
        await answer.send_bytes(b"\x01" + message.data[1:])
        await answer.send_bytes(SUCCESS)

    pipes = Pipes(b"x")
    async with served(script, V4) as (streaming, url):
        with caplog.at_level(logging.WARNING):
            session = await open_exec(streaming, url, pipes.streams, tty=False)
            assert await session.wait() == 0
            await session.close()
    assert pipes.read() == (b"x", b"")
    assert "cannot say that the input has ended" in caplog.text


async def test_a_terminal_is_a_pair_of_sockets() -> None:
    sizes: list[object] = []

    async def script(answer: web.WebSocketResponse) -> None:
        async for message in answer:
            if message.data[0] == 4:
                sizes.append(json.loads(message.data[1:]))
                continue
            await answer.send_bytes(b"\x01got " + message.data[1:])
            await answer.send_bytes(SUCCESS)
            return

    streams = ExecStreams(stdin=0)
    async with served(script, V5) as (streaming, url):
        session = await open_exec(streaming, url, streams, tty=True)
        session.resize(24, 80)
        await asyncio.sleep(0)
        os.write(session.terminal, b"keys")
        loop = asyncio.get_running_loop()
        said = b""
        while piece := await loop.run_in_executor(None, os.read, session.terminal, 100):
            said += piece
        assert said == b"got keys"
        assert await session.wait() == 0
        await session.close()
    assert sizes == [{"Width": 80, "Height": 24}]


async def test_a_stream_that_breaks_is_no_success() -> None:
    async def script(answer: web.WebSocketResponse) -> None:
        await answer.send_bytes(b"\x01half a")

    pipes = Pipes()
    async with served(script, V5) as (streaming, url):
        session = await open_exec(streaming, url, pipes.streams, tty=False)
        with pytest.raises(StreamFailed, match="without saying how the command ended"):
            await session.wait()
        await session.close()
    assert pipes.read() == (b"half a", b"")


async def test_closing_ends_what_runs() -> None:
    gone = asyncio.Event()

    async def script(answer: web.WebSocketResponse) -> None:
        async for _ in answer:
            pass
        gone.set()

    pipes = Pipes()
    async with served(script, V5) as (streaming, url):
        session = await open_exec(streaming, url, pipes.streams, tty=False)
        await session.close()
        async with asyncio.timeout(5):
            await gone.wait()
    pipes.read()


async def test_attached() -> None:
    async with served(echo, V5) as (streaming, url):
        attached = await open_attach(streaming, url, tty=False, stdin=True)
        await attached.write(b"to ")
        await attached.write(b"it")
        attached.close_stdin()
        found = [piece async for piece in attached]
        attached.close()
    assert found == [(Stream.STDOUT, b"to "), (Stream.STDOUT, b"it"), (Stream.STDERR, b"bye")]


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    streaming = Streaming()
    with pytest.raises(StreamFailed, match=f"127.0.0.1:{port}/exec") as caught:
        await streaming.connect(
            f"http://127.0.0.1:{port}/exec/secret-token", Wanted(stdin=False, tty=False)
        )
    assert "secret-token" not in str(caught.value)
    await streaming.close()


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(status="Failure", message="no such container"),
        Outcome(status="Failure", reason="InternalError"),
        Outcome(),
    ],
)
def test_what_is_no_exit_code(outcome: Outcome) -> None:
    with pytest.raises(StreamFailed):
        outcome.exit_code()
