"""A WebSocket session as a server: the handshake, pings, the end, and messages for somebody."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from trilby.cri.streaming import http
from trilby.cri.streaming import websocket_frames as frames
from trilby.cri.streaming.errors import BadRequest, ProtocolViolation
from trilby.cri.streaming.streams import Buffer, Carrier

_KEY_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PROTOCOL_FIELD: Final = "Sec-WebSocket-Protocol"

_log = logging.getLogger(__name__)


def negotiate(request: http.Request, supported: Sequence[str]) -> tuple[str, bytes]:
    """The subprotocol, the first of the client's that we know, and the answer to send.

    A client that names none gets the empty one. Raises BadRequest.
    """
    if request.method != "GET":
        raise BadRequest("a WebSocket begins with GET", status=405, headers="Allow: GET")
    if request.get("Sec-WebSocket-Version") != "13":
        raise BadRequest("WebSocket version 13 is needed", headers="Sec-WebSocket-Version: 13")
    key = request.get("Sec-WebSocket-Key")
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise BadRequest("Sec-WebSocket-Key is not 16 bytes")
    except binascii.Error:
        raise BadRequest("Sec-WebSocket-Key is not base64") from None
    wanted = request.items(_PROTOCOL_FIELD) or [""]
    protocol = next((name for name in wanted if name in supported), None)
    if protocol is None:
        known = ", ".join(filter(None, supported))
        raise BadRequest(f"of {', '.join(wanted)} nothing is known here: {known}", status=403)
    digest = hashlib.sha1(key.encode() + _KEY_SUFFIX, usedforsecurity=False).digest()
    fields = {"Sec_WebSocket_Accept": base64.b64encode(digest).decode()}
    if protocol:
        fields[_PROTOCOL_FIELD] = protocol
    return protocol, http.switching("websocket", **fields)


class Receiver(Protocol):
    """Whoever the messages are for. Raises ProtocolViolation to end the session."""

    def receive(self, data: Buffer, *, first: bool, last: bool) -> None:
        """A piece of a message."""


class WebSocket:
    """``on_end`` is called when the client wants no more, or has broken the rules."""

    def __init__(self, carrier: Carrier, receiver: Receiver, on_end: Callable[[], None]) -> None:
        self._carrier = carrier
        self._receiver = receiver
        self._on_end = on_end
        self._decoder = frames.Decoder()
        self._over = False

    def feed(self, data: Buffer) -> None:
        """What has come from the client."""
        try:
            for frame in self._decoder.feed(data):
                if isinstance(frame, frames.Piece):
                    if not self._over:
                        self._receiver.receive(frame.data, first=frame.first, last=frame.last)
                elif frame.opcode == frames.PING:
                    self.send(frame.payload, opcode=frames.PONG)
                elif frame.opcode == frames.CLOSE:
                    # A farewell, or the answer to ours: then nothing is left to wait for.
                    self.close()
                    self._on_end()
                    return
        except ProtocolViolation as error:
            _log.warning("a streaming client is cut off: %s", error)
            self.close(frames.PROTOCOL_ERROR)
            self._on_end()

    def send(self, *pieces: Buffer, opcode: int = frames.BINARY) -> None:
        """A whole message, or a control frame."""
        if not self._over:
            length = sum(len(piece) for piece in pieces)
            self._carrier.write(frames.head(opcode, length), *pieces)

    async def drain(self) -> None:
        """See Carrier."""
        await self._carrier.drain()

    def show_life(self) -> None:
        """A client whose pings wait unread behind its data must not think that we are dead.

        And one that is gone makes itself known by a reset; see SpdySession.show_life.
        """
        self.send(b"", opcode=frames.PONG)

    def close(self, code: int = frames.NORMAL) -> None:
        """Say goodbye."""
        if not self._over:
            self._over = True
            self._carrier.write(frames.close_frame(code))


__all__ = ["Receiver", "WebSocket", "negotiate"]
