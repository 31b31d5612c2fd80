"""WebSockets to a daemon's streaming server: channels, half-close, and how it ended.

The protocol is Kubernetes' remotecommand: the first byte of a message is its channel. Version 5 can
say that there is no more input; with version 4 a command that waits for that waits forever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import msgspec

from trilby.pods.errors import StreamFailed

log = logging.getLogger(__name__)

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
#: Version 5: the message has the channel that ends.
CLOSE: Final = 255
V5: Final = "v5.channel.k8s.io"
V4: Final = "v4.channel.k8s.io"
CONNECT_TIMEOUT: Final = 30.0


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] = []


class Outcome(msgspec.Struct, frozen=True):
    """A ``metav1.Status``, as far as it says how a command ended."""

    status: str = ""
    reason: str = ""
    message: str = ""
    details: _Details | None = None

    def exit_code(self) -> int:
        """The command's. Raises StreamFailed when it did not come to one."""
        if self.status == "Success":
            return 0
        for cause in self.details.causes if self.details else ():
            if cause.reason == "ExitCode" and cause.message.isdigit():
                return int(cause.message)
        raise StreamFailed(
            f"the daemon's stream failed: {self.message or self.reason or 'no word'}"
        )


class Streaming:
    """The HTTP session of all streams of one engine."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession()
        self._open: set[Channels] = set()

    async def close(self) -> None:
        for channels in list(self._open):
            await channels.close()
        await self._session.close()

    async def connect(self, url: str) -> Channels:
        """Raises StreamFailed."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                # The certificate is the daemon's own, for loopback; who answers there is no secret
                # worth more than the token in the address.
                socket = await self._session.ws_connect(
                    url, protocols=(V5, V4), max_msg_size=0, compress=0, ssl=False
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StreamFailed(
                f"connecting to the daemon's streaming server at {_place(url)}: "
                f"{str(error) or type(error).__name__}"
            ) from error
        channels = Channels(socket)
        self._open.add(channels)
        return channels


def _place(url: str) -> str:
    """The address without its token."""
    return "/".join(url.split("/")[:4])


class Channels:
    """One WebSocket. Iterate for the output; ``outcome`` is there when that has ended."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._tasks: set[asyncio.Task[None]] = set()
        self.outcome: Outcome | None = None

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Pieces of channels STDOUT and STDERR, until the daemon closes."""
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
                self.outcome = _outcome(data[1:])

    async def send(self, channel: int, data: bytes) -> None:
        """Raises StreamFailed when the daemon is gone."""
        try:
            await self._socket.send_bytes(bytes([channel]) + data)
        except (aiohttp.ClientError, OSError) as error:
            raise StreamFailed(
                f"writing to the container: {str(error) or 'it has ended'}"
            ) from error

    def send_soon(self, channel: int, data: bytes) -> None:
        """For callers that cannot wait; a daemon that is gone is nothing to them."""
        task = asyncio.create_task(self._send_quietly(channel, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_quietly(self, channel: int, data: bytes) -> None:
        try:
            await self.send(channel, data)
        except StreamFailed as error:
            log.debug("%s", error)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its size."""
        self.send_soon(RESIZE, msgspec.json.encode({"Width": columns, "Height": rows}))

    def end_input(self) -> None:
        """Say that there is no more input, if the protocol can."""
        if self._socket.protocol == V5:
            self.send_soon(CLOSE, bytes([STDIN]))
        else:
            log.warning(
                "the daemon's streams cannot say that the input has ended (%s): a command that"
                " waits for that waits forever",
                self._socket.protocol or "no protocol was chosen",
            )

    async def close(self) -> None:
        """Break off, or say good-bye."""
        for task in self._tasks:
            task.cancel()
        await self._socket.close()


def _outcome(text: bytes) -> Outcome:
    try:
        return msgspec.json.decode(text, type=Outcome)
    except msgspec.DecodeError:
        # Before version 4 the channel had plain text.
        return Outcome(status="Failure", message=text.decode(errors="replace").strip())
