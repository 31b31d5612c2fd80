"""A SPDY/3.1 session as a server: streams that the client opens.

Flow control is TCP's. The peers that there are (moby/spdystream, in every Go program that speaks
this) neither send WINDOW_UPDATE nor look at it: a server that waited for windows would stop after
64 KiB. So window updates and settings are taken note of by nobody; when a stream is not read, the
whole connection is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from trilby.cri.streaming import spdy_frames as frames
from trilby.cri.streaming.errors import ProtocolViolation, StreamClosed
from trilby.cri.streaming.streams import PIECE, Buffer, Carrier, Incoming

#: Open at once in one session.
MAX_STREAMS: Final = 1000

_log = logging.getLogger(__name__)


class SpdyStream:
    """One stream; ``incoming`` is what the client sends on it. See Outgoing for the other way."""

    def __init__(self, session: SpdySession, stream_id: int, headers: dict[str, str]) -> None:
        self.stream_id = stream_id
        self.headers = headers
        self.incoming = Incoming(session.carrier.hold)
        #: Called when the client resets it.
        self.on_reset: Callable[[], object] | None = None
        self._session = session
        self._finished = False

    async def write(self, data: Buffer) -> None:
        """See Outgoing."""
        view = memoryview(data)
        while view:
            await self._session.carrier.drain()
            if self._finished:
                raise StreamClosed(f"stream {self.stream_id} is closed")
            piece, view = view[:PIECE], view[PIECE:]
            self._session.carrier.write(frames.data_head(self.stream_id, len(piece)), piece)

    def finish(self) -> None:
        """See Outgoing."""
        if not self._finished:
            self._finished = True
            self._session.carrier.write(frames.data_head(self.stream_id, 0, fin=True))
            self._session.forget_if_done(self)

    def reset(self) -> None:
        """End it both ways."""
        if self._session.streams.pop(self.stream_id, None) is not None:
            if not self._finished or not self.incoming.ended:
                self._session.carrier.write(frames.reset(self.stream_id, frames.CANCEL))
            self.over()

    def over(self) -> None:
        """Nothing can be sent any more, and nothing will come."""
        self._finished = True
        self.incoming.end()
        self.incoming.discard()

    @property
    def done(self) -> bool:
        """Both ends have said that they are finished."""
        return self._finished and self.incoming.ended


class SpdySession:
    """``accept`` is asked about each new stream: why not, or an empty string.

    ``on_stream`` then gets the streams that are accepted; ``on_end`` is called when the client
    wants no more, or has broken the rules.
    """

    def __init__(
        self,
        carrier: Carrier,
        *,
        accept: Callable[[SpdyStream], str],
        on_stream: Callable[[SpdyStream], None],
        on_end: Callable[[], None],
    ) -> None:
        self.carrier = carrier
        self.streams: dict[int, SpdyStream] = {}
        self._accept = accept
        self._on_stream = on_stream
        self._on_end = on_end
        self._decoder = frames.Decoder()
        self._encoder = frames.Encoder()
        self._last_id = 0
        self._over = False

    def feed(self, data: Buffer) -> None:
        """What has come from the client."""
        if self._over:
            return
        try:
            for frame in self._decoder.feed(data):
                self._handle(frame)
        except ProtocolViolation as error:
            _log.warning("a streaming client is cut off: %s", error)
            self.carrier.write(frames.goaway(self._last_id, frames.GOAWAY_PROTOCOL_ERROR))
            self._end()

    def show_life(self) -> None:
        """Say something that needs no answer.

        A client that is gone, with more unsent than we take, cannot tell us so: its FIN waits
        behind its data. But its kernel answers what we send with a reset.
        """
        if not self._over:
            self.carrier.write(frames.settings({}))

    def close(self) -> None:
        """End what is open, and say goodbye."""
        for stream in list(self.streams.values()):
            stream.reset()
        if not self._over:
            self._over = True
            self.carrier.write(frames.goaway(self._last_id, frames.GOAWAY_OK))

    def forget_if_done(self, stream: SpdyStream) -> None:
        """A stream that both ends have finished makes room for others."""
        if stream.done:
            self.streams.pop(stream.stream_id, None)

    def _handle(self, frame: frames.Frame) -> None:
        match frame:
            case frames.Data():
                self._data(frame)
            case frames.SynStream():
                self._open(frame)
            case frames.Reset():
                stream = self.streams.pop(frame.stream_id, None)
                if stream is not None:
                    stream.over()
                    if stream.on_reset is not None:
                        stream.on_reset()
            case frames.Ping(ping_id) if ping_id % 2:
                self.carrier.write(frames.ping(ping_id))
            case frames.Headers(fin=True):
                self._finish(frame.stream_id)
            case frames.GoAway():
                self._end()
            case _:
                pass  # replies to what we never asked for, settings, windows

    def _data(self, frame: frames.Data) -> None:
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            # It may have been reset while this was on its way.
            if frame.stream_id > self._last_id:
                raise ProtocolViolation(f"SPDY: data for stream {frame.stream_id}, not open yet")
            return
        stream.incoming.put(frame.data)
        if frame.fin:
            self._finish(frame.stream_id)

    def _finish(self, stream_id: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.incoming.end()
            self.forget_if_done(stream)

    def _open(self, frame: frames.SynStream) -> None:
        if frame.stream_id % 2 == 0 or frame.stream_id <= self._last_id:
            raise ProtocolViolation(f"SPDY: a new stream {frame.stream_id} after {self._last_id}")
        self._last_id = frame.stream_id
        if len(self.streams) >= MAX_STREAMS:
            self.carrier.write(frames.reset(frame.stream_id, frames.REFUSED_STREAM))
            return
        stream = SpdyStream(self, frame.stream_id, frame.headers)
        reason = self._accept(stream)
        if reason:
            _log.warning("a stream of a streaming client is refused: %s", reason)
            self.carrier.write(frames.reset(frame.stream_id, frames.CANCEL))
            return
        self.streams[frame.stream_id] = stream
        # The peer throws away data that comes before the reply.
        self.carrier.write(self._encoder.syn_reply(frame.stream_id, {}))
        if frame.fin:
            stream.incoming.end()
        self._on_stream(stream)

    def _end(self) -> None:
        self._over = True
        for stream in list(self.streams.values()):
            stream.over()
        self.streams.clear()
        self._on_end()


__all__ = ["MAX_STREAMS", "SpdySession", "SpdyStream"]
