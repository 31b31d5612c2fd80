"""A daemon's streams by WebSocket: the first byte of a message is its channel.

Version 5 can say that there is no more input; with version 4 a command that waits for that waits
forever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import aiohttp

from trilby.cri.client.channels import (
    CONNECT_TIMEOUT,
    ERROR,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    Outcome,
    outcome,
    place,
    size,
)
from trilby.pods.errors import StreamFailed

log = logging.getLogger(__name__)

#: Version 5: the message has the channel that ends.
CLOSE: Final = 255
V5: Final = "v5.channel.k8s.io"
V4: Final = "v4.channel.k8s.io"


class WebSocketChannels:
    """See ``trilby.cri.client.channels.Channels``."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._tasks: set[asyncio.Task[None]] = set()
        self.outcome: Outcome | None = None

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY:
                continue
            data: bytes = message.data
            if not data:
                continue
            if data[0] in (STDOUT, STDERR):
                if len(data) > 1:
                    yield data[0], data[1:]
            elif data[0] == ERROR and len(data) > 1:
                self.outcome = outcome(data[1:])

    async def send(self, channel: int, data: bytes) -> None:
        try:
            await self._socket.send_bytes(bytes([channel]) + data)
        except (aiohttp.ClientError, OSError) as error:
            why = str(error) or "it has ended"
            raise StreamFailed(f"writing to the container: {why}") from error

    def resize(self, rows: int, columns: int) -> None:
        self._send_soon(RESIZE, size(rows, columns))

    def end_input(self) -> None:
        if self._socket.protocol == V5:
            self._send_soon(CLOSE, bytes([STDIN]))
            return
        log.warning(
            "the daemon's streams cannot say that the input has ended (%s): a command that waits"
            " for that waits forever",
            self._socket.protocol or "no protocol was chosen",
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._socket.close()

    def _send_soon(self, channel: int, data: bytes) -> None:
        """For callers that cannot wait; a daemon that is gone is nothing to them."""
        task = asyncio.create_task(self._send_quietly(channel, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_quietly(self, channel: int, data: bytes) -> None:
        try:
            await self.send(channel, data)
        except StreamFailed as error:
            log.debug("%s", error)


async def connect(session: aiohttp.ClientSession, url: str) -> WebSocketChannels:
    """Raises StreamFailed."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            # The certificate is the daemon's own, for loopback; who answers there is no secret
            # worth more than the token in the address.
            socket = await session.ws_connect(
                url, protocols=(V5, V4), max_msg_size=0, compress=0, ssl=False
            )
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise StreamFailed(
            f"connecting to the daemon's streaming server at {place(url)}: "
            f"{str(error) or type(error).__name__}"
        ) from error
    return WebSocketChannels(socket)
