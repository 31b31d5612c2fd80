"""Exec over SPDY and WebSocket, with real containers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os

from tests.support.streaming import SpdyClient, exit_code

from trilby.cri.streaming.server import StreamingServer
from trilby.pods.engine import Engine

V4 = "v4.channel.k8s.io"


def url(
    server: StreamingServer, container: str, *cmd: str, streams: str = "oe", tty: bool = False
) -> str:
    return server.exec_url(
        container, cmd, tty=tty, stdin="i" in streams, stdout="o" in streams, stderr="e" in streams
    )


async def test_output_and_exit_code(server: StreamingServer, container: str) -> None:
    script = "echo out; echo err >&2; exit 3"
    async with SpdyClient(url(server, container, "sh", "-c", script), V4) as client:
        streams = await client.command("error", "stdout", "stderr")
        assert await streams["stdout"].all() == b"out\n"
        assert await streams["stderr"].all() == b"err\n"
        assert exit_code(await streams["error"].all()) == 3
        await asyncio.wait_for(client.closed.wait(), 5)
        assert client.goaway is not None


async def test_half_close_of_stdin(server: StreamingServer, container: str) -> None:
    target = url(server, container, "sh", "-c", "cat | wc -c", streams="ioe")
    async with SpdyClient(target, V4) as client:
        streams = await client.command("error", "stdin", "stdout", "stderr")
        await streams["stdin"].send(b"x" * 1_000_000, fin=True)
        assert await streams["stdout"].all() == b"1000000\n"
        assert exit_code(await streams["error"].all()) == 0


async def test_large_data_both_ways(server: StreamingServer, container: str) -> None:
    size = 100_000_000
    block = os.urandom(1 << 20)
    sent, seen = hashlib.sha256(), hashlib.sha256()
    total = 0

    def take(data: bytes) -> None:
        nonlocal total
        total += len(data)
        seen.update(data)

    async with SpdyClient(url(server, container, "cat", streams="io"), V4) as client:
        streams = await client.command("error", "stdin", "stdout")
        client.sink[streams["stdout"].number] = take
        left = size
        while left:
            piece = block[: min(left, len(block))]
            sent.update(piece)
            await streams["stdin"].send(piece)
            left -= len(piece)
        await streams["stdin"].send(b"", fin=True)
        assert exit_code(await streams["error"].all()) == 0
        await streams["stdout"].ended.wait()
    assert total == size
    assert seen.digest() == sent.digest()


async def test_terminal(server: StreamingServer, container: str) -> None:
    target = url(server, container, "sh", streams="io", tty=True)
    async with SpdyClient(target, V4) as client:
        streams = await client.command("error", "stdin", "stdout", "resize")
        await streams["resize"].send(b'{"Width":121,"Height":33}\n{"Wid')
        await streams["resize"].send(b'th":100,"Height":40}\n')
        await asyncio.sleep(0.2)
        await streams["stdin"].send(b"stty size; tty; exit 5\n")
        output = await streams["stdout"].all()
        assert b"40 100" in output and b"/dev/pts/" in output
        assert exit_code(await streams["error"].all()) == 5


async def test_a_client_that_leaves_takes_the_command_with_it(
    server: StreamingServer, container: str, engine: Engine
) -> None:
    async with SpdyClient(url(server, container, "sh", "-c", "echo on; sleep 333"), V4) as client:
        streams = await client.command("error", "stdout", "stderr")
        await streams["stdout"].until(b"on\n")
    await gone(engine, container, "sleep 333")


async def test_a_client_that_leaves_while_it_is_not_read_from(
    server: StreamingServer, container: str, engine: Engine
) -> None:
    target = url(server, container, "sh", "-c", "echo on; sleep 334", streams="io")
    async with SpdyClient(target, V4) as client:
        streams = await client.command("error", "stdin", "stdout")
        await streams["stdout"].until(b"on\n")
        # More than the command's pipe and the server take, less than the kernel does.
        await streams["stdin"].send(bytes(700_000))
    await gone(engine, container, "sleep 334")


async def test_a_client_that_leaves_in_the_middle_of_its_input(
    server: StreamingServer, container: str, engine: Engine
) -> None:
    target = url(server, container, "sh", "-c", "echo on; sleep 336", streams="io")
    async with SpdyClient(target, V4) as client:
        streams = await client.command("error", "stdin", "stdout")
        await streams["stdout"].until(b"on\n")
        # Until the kernel takes no more either. What it took keeps the FIN from coming through.
        try:
            async with asyncio.timeout(0.5):
                while True:
                    await streams["stdin"].send(bytes(1 << 20))
        except TimeoutError:
            pass
        client.writer.transport.abort()
    await gone(engine, container, "sleep 336")


async def gone(engine: Engine, container: str, command: str) -> None:
    script = f"ps | grep -q '[{command[0]}]{command[1:]}'"
    for _ in range(100):
        if (await engine.exec_sync(container, ["sh", "-c", script])).exit_code:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{command} still runs")


async def test_background_processes_keep_nobody_waiting(
    server: StreamingServer, container: str
) -> None:
    script = "yes no | head -c 30000; (while true; do echo more; done) & sleep 0"
    async with SpdyClient(url(server, container, "sh", "-c", script), V4) as client:
        streams = await client.command("error", "stdout", "stderr")
        async with asyncio.timeout(20):
            assert (await streams["stdout"].all()).startswith(b"no\n" * 10000)
            assert exit_code(await streams["error"].all()) == 0


async def test_no_such_command(server: StreamingServer, container: str) -> None:
    async with SpdyClient(url(server, container, "/no/such"), V4) as client:
        streams = await client.command("error", "stdout", "stderr")
        status = json.loads(await streams["error"].all())
        assert status["reason"] == "InternalError" and "/no/such" in status["message"]


async def test_old_versions(server: StreamingServer, container: str) -> None:
    for protocol in ("v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"):
        async with SpdyClient(url(server, container, "sh", "-c", "exit 4"), protocol) as client:
            assert client.protocol == protocol
            streams = await client.command("error", "stdout", "stderr")
            assert b"exit status 4" in await streams["error"].all()
        async with SpdyClient(url(server, container, "true"), protocol, method="GET") as client:
            streams = await client.command("error", "stdout", "stderr")
            assert await streams["error"].all() == b""


async def test_many_at_once(server: StreamingServer, container: str) -> None:
    async def one(number: int) -> None:
        target = url(server, container, "sh", "-c", f"cat; exit {number}", streams="io")
        async with SpdyClient(target, V4) as client:
            streams = await client.command("error", "stdin", "stdout")
            await streams["stdin"].send(b"%d" % number, fin=True)
            assert await streams["stdout"].all() == b"%d" % number
            assert exit_code(await streams["error"].all()) == number

    await asyncio.gather(*(one(number) for number in range(20)))
