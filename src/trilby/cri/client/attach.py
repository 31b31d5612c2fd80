"""The streams of a container's first process at a daemon, as ``AttachedStreams`` offers them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from trilby.cri.client.channels import STDERR, STDIN, Channels, Wanted
from trilby.cri.client.streaming import Streaming
from trilby.pods.attach import Stream


class RemoteAttach:
    """An open attachment. ``async for stream, data in attached:`` ends when the container does."""

    def __init__(self, channels: Channels, *, tty: bool, stdin: bool) -> None:
        self.tty = tty
        self.has_stdin = stdin
        self._channels = channels
        self._closing: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncIterator[tuple[Stream, bytes]]:
        async for channel, data in self._channels.output():
            yield Stream.STDERR if channel == STDERR else Stream.STDOUT, data

    async def write(self, data: bytes) -> None:
        """Send bytes to stdin. Raises StreamFailed when the container is gone."""
        await self._channels.send(STDIN, data)

    def close_stdin(self) -> None:
        """End of our input; the container sees it if it has stdin_once."""
        self._channels.end_input()

    def resize(self, rows: int, columns: int) -> None:
        self._channels.resize(rows, columns)

    def close(self) -> None:
        """Detach; the container goes on. The engine's end waits for it."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._channels.close())


async def open_attach(streaming: Streaming, url: str, *, tty: bool, stdin: bool) -> RemoteAttach:
    """Connect to the address that Attach answered. Raises StreamFailed."""
    return RemoteAttach(
        await streaming.connect(url, Wanted(stdin=stdin, tty=tty)), tty=tty, stdin=stdin
    )
