"""SPDY inside of a WebSocket, whose messages are any cuts of its bytes.

The subprotocol is ``SPDY/3.1+portforward.k8s.io``.
"""

from __future__ import annotations

from collections.abc import Callable

from trilby.cri.streaming.streams import Buffer, Carrier
from trilby.cri.streaming.websocket import WebSocket


class Tunnel:
    """A carrier for SPDY, and the receiver of the messages of the WebSocket around it."""

    def __init__(self, outer: Carrier) -> None:
        self._outer = outer
        #: Set right after construction: each needs the other.
        self.socket: WebSocket
        self.feed: Callable[[Buffer], None]

    def write(self, *pieces: Buffer) -> None:
        """See Carrier."""
        self.socket.send(*pieces)

    async def drain(self) -> None:
        """See Carrier."""
        await self._outer.drain()

    def hold(self, change: int) -> None:
        """See Carrier."""
        self._outer.hold(change)

    def receive(self, data: Buffer, *, first: bool, last: bool) -> None:
        """See Receiver."""
        self.feed(data)


__all__ = ["Tunnel"]
