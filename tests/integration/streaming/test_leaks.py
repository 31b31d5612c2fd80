"""Hundreds of short sessions leave nothing behind: no descriptors, tasks, processes, memory."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

from tests.support.streaming import SocketClient, SpdyClient, exit_code

from trilby.cri.streaming.server import StreamingServer
from trilby.pods.engine import Engine
from trilby.system.cgroups import Cgroup

ROUNDS = 300
TOGETHER = 6


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> int:
    return sum(
        len(task.joinpath("children").read_text().split())
        for task in Path("/proc/self/task").iterdir()
    )


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def one(server: StreamingServer, container: str, number: int) -> None:
    """Five kinds of ends: by itself (SPDY, WebSocket, terminal), the client leaves, an error."""
    kind = number % 5
    command = ["sh", "-c", "echo hello; exit 3"]
    if kind == 3:
        command = ["sh", "-c", "echo hello; sleep 100"]
    if kind == 4:
        command = ["/no/such/command"]
    target = server.exec_url(
        container, command, tty=kind == 2, stdin=True, stdout=True, stderr=kind != 2
    )
    if kind == 1:
        async with SocketClient(target, "v5.channel.k8s.io") as socket:
            found = await socket.end()
            assert found[1] == b"hello\n" and exit_code(found[3]) == 3
        return
    async with SpdyClient(target, "v4.channel.k8s.io") as client:
        third = "resize" if kind == 2 else "stderr"
        streams = await client.command("error", "stdin", "stdout", third)
        if kind == 3:
            await streams["stdout"].until(b"hello")
        elif kind == 4:
            assert b"InternalError" in await streams["error"].all()
        else:
            assert exit_code(await streams["error"].all()) == 3
            assert b"hello" in streams["stdout"].data


async def settled(server: StreamingServer) -> None:
    """Until the server has seen its clients go, and what they ran is gone."""
    while server._clients:
        await asyncio.wait(list(server._clients))
    await asyncio.sleep(0.1)
    gc.collect()


async def test_hundreds_of_execs(server: StreamingServer, engine: Engine, container: str) -> None:
    cgroup = Cgroup(engine._parts.layout.load_container(
        *engine._parts.layout.find_container(container)
    ).cgroup)  # fmt: skip

    async def rounds(count: int) -> None:
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                await one(server, container, number)

        await asyncio.gather(*(worker() for _ in range(TOGETHER)))
        await settled(server)

    await rounds(20)
    before = (descriptors(), children(), len(asyncio.all_tasks()), cgroup.pids())
    memory = rss()
    await rounds(ROUNDS)
    after = (descriptors(), children(), len(asyncio.all_tasks()), cgroup.pids())
    assert after == before
    assert rss() - memory < 8 << 20
    assert os.listdir(engine._parts.layout.execs) == []
