"""A command in a container of a daemon, with what ``trilby.pods.exec.ExecSession`` offers."""

from __future__ import annotations

import asyncio
import os
import select
import socket

from trilby.cri.client.channels import STDERR, STDIN, Channels, Wanted
from trilby.cri.client.streaming import Streaming
from trilby.pods.errors import StreamFailed
from trilby.pods.exec import ExecStreams

_PIECE = 1 << 15


class RemoteSession:
    """``terminal`` is one end of a socket pair, whose other end is the command's; -1 without."""

    def __init__(self, channels: Channels, streams: ExecStreams, pair: tuple[int, int]) -> None:
        self._channels = channels
        self.terminal, self._inner = pair
        self._streams = streams
        self._input: asyncio.Task[None] | None = None
        source = self._inner if self.terminal >= 0 else streams.stdin
        if streams.stdin is not None and source is not None:
            self._input = asyncio.create_task(self._send(source), name="exec-input")
        self._code: asyncio.Task[int] = asyncio.create_task(self._receive(), name="exec-output")

    async def wait(self) -> int:
        """The exit code. Raises StreamFailed when the stream broke before it came."""
        return await asyncio.shield(self._code)

    def resize(self, rows: int, columns: int) -> None:
        self._channels.resize(rows, columns)

    async def close(self) -> None:
        """Break off what still runs; the daemon ends it."""
        tasks: list[asyncio.Task[None] | asyncio.Task[int]] = [self._code]
        if self._input is not None:
            tasks.append(self._input)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._channels.close()
        for fd in (self.terminal, self._inner):
            if fd >= 0:
                os.close(fd)
        self.terminal = self._inner = -1

    async def _send(self, source: int) -> None:
        while data := await read_when_ready(source, _PIECE):
            await self._channels.send(STDIN, data)
        self._channels.end_input()

    async def _receive(self) -> int:
        async for channel, data in self._channels.output():
            target = self._target(channel)
            if target is not None:
                await asyncio.to_thread(write_all, target, data)
        if self.terminal >= 0:
            # Whoever copies from the terminal sees its end.
            with socket.socket(fileno=os.dup(self._inner)) as inner:
                inner.shutdown(socket.SHUT_WR)
        outcome = self._channels.outcome
        if outcome is None:
            raise StreamFailed("the daemon ended the stream without saying how the command ended")
        return outcome.exit_code()

    def _target(self, channel: int) -> int | None:
        if self.terminal >= 0:
            return self._inner
        return self._streams.stderr if channel == STDERR else self._streams.stdout


async def open_exec(
    streaming: Streaming, url: str, streams: ExecStreams, *, tty: bool
) -> RemoteSession:
    """Connect to the address that Exec answered. Raises StreamFailed."""
    wanted = Wanted(stdin=streams.stdin is not None, tty=tty)
    channels = await streaming.connect(url, wanted)
    pair = (-1, -1)
    if tty:
        ours, inner = socket.socketpair()
        pair = (ours.detach(), inner.detach())
    return RemoteSession(channels, streams, pair)


async def read_when_ready(fd: int, size: int) -> bytes:
    """What can be read next, b"" at the end; a file is read at once, it never blocks."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:
        return os.read(fd, size)
    try:
        await ready.wait()
        return os.read(fd, size)
    except OSError:
        return b""
    finally:
        loop.remove_reader(fd)


def write_all(fd: int, data: bytes) -> None:
    """Blocks until all is written, also where somebody made the descriptor non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])
