"""One client: its socket, with back pressure both ways, and the notice that it has gone.

Below HTTP, SPDY and WebSocket. It first collects the head of an HTTP request; from upgrade() on
every byte goes to whoever speaks the protocol then.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable
from typing import Final

from trilby.cri.streaming.errors import BadRequest, StreamClosed
from trilby.cri.streaming.streams import Buffer

MAX_HEAD: Final = 16384
#: With this much waiting to be used, nothing more is read from the client.
HIGH: Final = 1 << 18
LOW: Final = 1 << 16
#: Only answers to the client itself, such as to pings, can wait to be sent in such a number.
FLOOD: Final = 1 << 20
# What a piece that waits to be sent costs apart from its bytes.
_OVERHEAD: Final = 256
# How long a client has, after everything was said, to close its end.
LINGER: Final = 5.0
# How often a client that is not read from is looked at, whether it is still there.
_LOOK: Final = 1.0
_GONE: Final = select.POLLRDHUP | select.POLLHUP | select.POLLERR

_log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """``on_made`` is called when the client is there, ``on_gone`` once when it is not any more."""

    def __init__(self, on_made: Callable[[Connection], None], idle_timeout: float) -> None:
        self.on_gone: Callable[[], object] = lambda: None
        #: Called now and then while the client is not read from.
        self.on_blocked: Callable[[], None] = lambda: None
        self.gone = False
        self._on_made = on_made
        self._idle_timeout = idle_timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._head_there = asyncio.Event()
        self._feed: Callable[[Buffer], None] | None = None
        self._held = 0
        self._paused = False
        self._room = asyncio.Event()
        self._room.set()
        # What was written since there was no room any more.
        self._waiting = 0
        self._touched = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._watch_idleness()
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        self._touched = self._loop.time()
        if self._feed is not None:
            self._feed(data)
            return
        self._head += data
        # More than a head may have come, but a client has no reason to send so much ahead.
        if b"\r\n\r\n" in self._head or len(self._head) > MAX_HEAD:
            self._head_there.set()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        for timer in (self._idle, self._look):
            if timer is not None:
                timer.cancel()
        self._end()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._waiting = 0
        self._room.set()

    # What the server calls

    async def head(self) -> bytes:
        """The head of the request, up to and with its empty line. Raises BadRequest."""
        await self._head_there.wait()
        if self.gone:
            raise StreamClosed("the client has gone")
        end = self._head.find(b"\r\n\r\n") + 4
        if end < 4 or end > MAX_HEAD:
            raise BadRequest("the head of the request is too long", status=431)
        found = bytes(self._head[:end])
        del self._head[:end]
        return found

    def upgrade(self, feed: Callable[[Buffer], None]) -> None:
        """From now on, what the client sends is for ``feed``; it has to raise nothing."""
        self._feed = feed
        rest, self._head = bytes(self._head), bytearray()
        if rest:
            feed(rest)

    def write(self, *pieces: Buffer) -> None:
        """See Carrier."""
        if self._transport is not None and not self.gone:
            self._touched = self._loop.time()
            # Not writelines(): it does not say when there is no room any more (CVE-2024-12254).
            self._transport.write(b"".join(pieces))
            if not self._room.is_set():
                self._waiting += sum(map(len, pieces)) + _OVERHEAD
                if self._waiting > FLOOD:
                    _log.warning("a streaming client asks much and reads nothing: cut off")
                    self.abort()

    async def drain(self) -> None:
        """See Carrier. Others get their turn, also when there is always room."""
        await asyncio.sleep(0)
        while not self._room.is_set():
            await self._room.wait()
        if self.gone:
            raise StreamClosed("the client has gone")

    def hold(self, change: int) -> None:
        """See Carrier."""
        self._held += change
        if self._transport is None or self.gone:
            return
        if self._held > HIGH and not self._paused:
            self._paused = True
            self._transport.pause_reading()
            self._look = self._loop.call_later(_LOOK, self._look_at_client)
        elif self._held < LOW and self._paused:
            self._paused = False
            self._transport.resume_reading()
            if self._look is not None:
                self._look.cancel()

    async def linger(self) -> None:
        """Everything was said: wait until the client has closed its end, but not for ever.

        Whoever speaks the protocol throws away what still comes.
        To close a socket with something unread makes the kernel reset the connection, and the
        client may then lose the last that it was told.
        """
        if self._feed is None:
            self._feed = lambda data: None
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        if self._transport is not None:
            # Now there is room only when everything is sent.
            self._transport.set_write_buffer_limits(0)
        try:
            async with asyncio.timeout(LINGER):
                await self.drain()
                if self._transport is not None and self._transport.can_write_eof():
                    self._transport.write_eof()
                # Whoever waits here is cancelled when the client has gone.
                await self._loop.create_future()
        except (TimeoutError, StreamClosed, OSError):
            pass

    def leave(self) -> None:
        """The client has said that it goes, or must go."""
        self._end()

    def close(self) -> None:
        """Close, after what is queued has been sent; a client that takes nothing loses it."""
        if self._transport is not None:
            self._transport.close()
            self._look = self._loop.call_later(LINGER, self.abort)

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        if not self.gone:
            self.gone = True
            self._head_there.set()
            self._room.set()
            self.on_gone()

    def _watch_idleness(self) -> None:
        left = self._touched + self._idle_timeout - self._loop.time()
        if left <= 0:
            self.abort()
        else:
            self._idle = self._loop.call_later(left, self._watch_idleness)

    def _look_at_client(self) -> None:
        """A socket that is not read from tells nobody that its other end was closed."""
        if self._transport is None or not self._paused or self._transport.is_closing():
            return
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        if any(events & _GONE for _, events in poll.poll(0)):
            self.abort()
            return
        if self._room.is_set():
            touched = self._touched
            self.on_blocked()
            self._touched = touched  # what we say of our own does not count
        self._look = self._loop.call_later(_LOOK, self._look_at_client)


__all__ = ["HIGH", "LOW", "MAX_HEAD", "Connection"]
