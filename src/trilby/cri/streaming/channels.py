"""The channels of Kubernetes' WebSocket protocols: the first byte of a message says which stream.

``channel.k8s.io`` and its versions send bytes, ``base64.channel.k8s.io`` and its versions text:
the channel's digit, then base64. In version 5 a client ends a channel with a message of 255 and
its number.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from trilby.cri.streaming.errors import ProtocolViolation, StreamClosed
from trilby.cri.streaming.streams import PIECE, Buffer, Incoming
from trilby.cri.streaming.websocket import WebSocket
from trilby.cri.streaming.websocket_frames import TEXT

_CLOSE: Final = 255
# Bytes of a piece of which base64 makes whole groups and at most PIECE characters.
_BASE64_PIECE: Final = PIECE // 4 * 3


class Channel:
    """A channel to the client; see Outgoing."""

    def __init__(self, channels: Channels, number: int) -> None:
        self._channels = channels
        self._number = number
        self._finished = False

    async def write(self, data: Buffer) -> None:
        view = memoryview(data)
        size = _BASE64_PIECE if self._channels.base64 else PIECE
        while view:
            await self._channels.socket.drain()
            if self._finished:
                raise StreamClosed(f"channel {self._number} is closed")
            piece, view = view[:size], view[size:]
            self.send(piece)

    def send(self, piece: Buffer) -> None:
        """One message, which may be empty."""
        if self._channels.base64:
            text = b"%d" % self._number + base64.b64encode(piece)
            self._channels.socket.send(text, opcode=TEXT)
        else:
            self._channels.socket.send(bytes((self._number,)), piece)

    def finish(self) -> None:
        # There is no message for it that clients know: the end of the session is the end of all.
        self._finished = True


class Channels:
    """The receiver of a WebSocket's messages. Unknown channels are ignored, as in Go's server."""

    def __init__(self, incoming: dict[int, Incoming], *, base64: bool, closing: bool) -> None:
        self.base64 = base64
        self.incoming = incoming
        self._closing = closing
        #: Set right after construction: each needs the other.
        self.socket: WebSocket
        self._number = -1
        # What of a group of four characters, or of the number of a channel to close, has come.
        self._rest = b""

    def channel(self, number: int) -> Channel:
        """A channel to the client."""
        return Channel(self, number)

    def receive(self, data: Buffer, *, first: bool, last: bool) -> None:
        """See Receiver."""
        if first:
            self._number, self._rest = -1, b""
        if self._number < 0:
            if not data:
                return
            self._number = data[0] - ord("0") if self.base64 else data[0]
            data = memoryview(data)[1:]
        if self._closing and self._number == _CLOSE:
            self._rest += bytes(data[:2])
            if last:
                self._end_channel()
            return
        stream = self.incoming.get(self._number)
        if stream is None:
            return
        stream.put(self._decode(bytes(data), last) if self.base64 else data)

    def _end_channel(self) -> None:
        if len(self._rest) != 1:
            raise ProtocolViolation("WebSocket: which channel shall be closed?")
        stream = self.incoming.get(self._rest[0])
        if stream is not None:
            stream.end()

    def _decode(self, data: bytes, last: bool) -> bytes:
        data = self._rest + data
        whole = len(data) if last else len(data) // 4 * 4
        self._rest = data[whole:]
        try:
            return base64.b64decode(data[:whole], validate=True)
        except binascii.Error:
            raise ProtocolViolation("WebSocket: a message is not base64") from None


__all__ = ["Channel", "Channels"]
