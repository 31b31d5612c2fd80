"""Attach over SPDY and WebSocket."""

from __future__ import annotations

import asyncio

from tests.support.pods import busybox
from tests.support.streaming import SocketClient, SpdyClient, exit_code

from trilby.cri.streaming.server import StreamingServer
from trilby.pods.engine import Engine
from trilby.pods.model_status import ContainerState

V4 = "v4.channel.k8s.io"


async def start(engine: Engine, sandbox: str, *command: str, **changes: object) -> str:
    container = await engine.create_container(sandbox, busybox("main", *command, **changes))
    await engine.start_container(container)
    return container


def url(server: StreamingServer, container: str, *, tty: bool = False) -> str:
    return server.attach_url(container, tty=tty, stdin=True, stdout=True, stderr=not tty)


async def test_shell(server: StreamingServer, engine: Engine, sandbox: str) -> None:
    container = await start(engine, sandbox, "sh", stdin=True, stdin_once=True)
    async with SpdyClient(url(server, container), V4) as client:
        streams = await client.command("error", "stdin", "stdout", "stderr")
        await streams["stdin"].send(b"echo hello; echo bad >&2\n")
        await streams["stdout"].until(b"hello\n")
        await streams["stderr"].until(b"bad\n")
        await streams["stdin"].send(b"", fin=True)
        assert exit_code(await streams["error"].all()) == 0
    assert await asyncio.wait_for(engine.wait_container(container), 10) == 0


async def test_the_container_goes_on_without_the_client(
    server: StreamingServer, engine: Engine, sandbox: str
) -> None:
    script = "while read line; do echo got $line; done; echo end"
    container = await start(engine, sandbox, "sh", "-c", script, stdin=True)
    for word in (b"one", b"two"):
        async with SpdyClient(url(server, container), V4) as client:
            streams = await client.command("error", "stdin", "stdout", "stderr")
            await streams["stdin"].send(word + b"\n", fin=word == b"two")
            await streams["stdout"].until(b"got " + word)
    assert engine.container_status(container).state is ContainerState.RUNNING


async def test_stdin_once_ends_with_its_first_client(
    server: StreamingServer, engine: Engine, sandbox: str
) -> None:
    container = await start(engine, sandbox, "sh", "-c", "cat; exit 7", stdin=True, stdin_once=True)
    async with SpdyClient(url(server, container), V4) as client:
        streams = await client.command("error", "stdin", "stdout", "stderr")
        await streams["stdin"].send(b"hello")
        await streams["stdout"].until(b"hello")
    assert await asyncio.wait_for(engine.wait_container(container), 10) == 7


async def test_who_has_said_all_leaves_a_container_that_listens_on(
    server: StreamingServer, engine: Engine, sandbox: str
) -> None:
    container = await start(engine, sandbox, "cat", stdin=True)
    async with SpdyClient(url(server, container), V4) as client:
        streams = await client.command("error", "stdin", "stdout", "stderr")
        await streams["stdin"].send(b"hello\n", fin=True)
        assert await streams["stdout"].all() == b"hello\n"
        assert exit_code(await streams["error"].all()) == 0
    assert engine.container_status(container).state is ContainerState.RUNNING


async def test_several_clients(server: StreamingServer, engine: Engine, sandbox: str) -> None:
    container = await start(engine, sandbox, "cat", stdin=True)
    async with (
        SpdyClient(url(server, container), V4) as one,
        SocketClient(url(server, container), "v5.channel.k8s.io") as two,
    ):
        streams = await one.command("error", "stdin", "stdout", "stderr")
        await two.until(1, b"")
        await streams["stdin"].send(b"from one\n")
        await two.until(1, b"from one\n")
        await two.send(0, b"from two\n")
        await streams["stdout"].until(b"from two\n")


async def test_terminal(server: StreamingServer, engine: Engine, sandbox: str) -> None:
    container = await start(engine, sandbox, "sh", stdin=True, tty=True)
    async with SpdyClient(url(server, container, tty=True), V4) as client:
        streams = await client.command("error", "stdin", "stdout", "resize")
        await streams["resize"].send(b'{"Width":132,"Height":44}\n')
        command = b"while [ \"$(stty size)\" != '44 132' ]; do sleep 0.05; done; stty size\n"
        await streams["stdin"].send(command)
        await streams["stdout"].until(b"\n44 132")
        await streams["stdin"].send(b"exit 4\n")
        assert exit_code(await streams["error"].all()) == 0
    assert await engine.wait_container(container) == 4


async def test_a_container_that_has_ended(
    server: StreamingServer, engine: Engine, sandbox: str
) -> None:
    container = await start(engine, sandbox, "true")
    await engine.wait_container(container)
    async with SpdyClient(url(server, container), V4) as client:
        streams = await client.command("error", "stdin", "stdout", "stderr")
        assert b"not running" in await streams["error"].all()
