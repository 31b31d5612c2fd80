"""What the two transports have in common: streams from the client and to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from trilby.pods.engine_tasks import finish

Buffer = bytes | bytearray | memoryview

#: Pieces that are sent at once, and read from a command at once.
PIECE = 1 << 16
# What a waiting piece costs apart from its bytes. Tiny pieces must not go for nothing.
_OVERHEAD = 256
# A smaller piece is copied: it would keep alive all that was read from the socket with it.
_SMALL = 1 << 12


class Incoming:
    """A stream from the client. ``hold`` is told what waits here, and what no longer does.

    It is the connection's, and stops reading when there is too much.
    """

    def __init__(self, hold: Callable[[int], None]) -> None:
        self._hold = hold
        self._pieces: deque[Buffer] = deque()
        self._held = 0
        self._ended = False
        self._wanted = True
        self._wake: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Nothing more will come."""
        return self._ended

    def put(self, piece: Buffer) -> None:
        """A piece has arrived."""
        if self._ended or not self._wanted or not piece:
            return
        self._pieces.append(bytes(piece) if len(piece) < _SMALL else piece)
        self._held += len(piece) + _OVERHEAD
        self._hold(len(piece) + _OVERHEAD)
        self._notify()

    def end(self) -> None:
        """The client has said that there is no more."""
        self._ended = True
        self._notify()

    def discard(self) -> None:
        """Nobody reads any more: what waits and what comes is thrown away."""
        self._wanted = False
        self._pieces.clear()
        held, self._held = self._held, 0
        self._hold(-held)
        self._notify()

    async def read(self) -> Buffer:
        """The next piece; empty at the end. One reader at a time."""
        while not self._pieces:
            if self._ended or not self._wanted:
                return b""
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        piece = self._pieces.popleft()
        self._held -= len(piece) + _OVERHEAD
        self._hold(-len(piece) - _OVERHEAD)
        return piece

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Outgoing(Protocol):
    """A stream to the client."""

    async def write(self, data: Buffer) -> None:
        """Send; waits as long as the client is slow. Raises StreamClosed."""

    def finish(self) -> None:
        """There is no more. Nothing happens the second time."""


class CommandStreams(msgspec.Struct, frozen=True, kw_only=True):
    """The streams of an exec or attach; None for those that were not asked for.

    ``structured``: the error stream takes a Kubernetes Status; else plain text, and only of
    failures.
    """

    stdin: Incoming | None
    stdout: Outgoing | None
    stderr: Outgoing | None
    error: Outgoing
    resize: Incoming | None
    structured: bool


async def end_tasks(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks, and wait until they have let go of what they use, even when cancelled."""
    for task in tasks:
        task.cancel()
    await finish(_all(tasks))


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class Carrier(Protocol):
    """Bytes both ways: a connection, or a WebSocket with another protocol inside."""

    def write(self, *pieces: Buffer) -> None:
        """Queue pieces, one after the other. Never waits, never fails."""

    async def drain(self) -> None:
        """Wait until there is room. Raises StreamClosed when the client is gone."""

    def hold(self, change: int) -> None:
        """So many bytes more wait to be used (fewer, if negative)."""


__all__ = ["PIECE", "Buffer", "Carrier", "CommandStreams", "Incoming", "Outgoing", "end_tasks"]
