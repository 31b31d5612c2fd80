"""Several byte streams on one socket, as NRI has them: frames with a stream's number and a length.

Stream 1 carries the runtime's calls of the plugin, stream 2 the plugin's calls of the runtime. A
frame is not a message: what comes on a stream is joined again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from trilby.cri.nri.errors import ProtocolError

#: The streams' numbers; 0 is reserved, and what comes on others is dropped.
PLUGIN: Final = 1
RUNTIME: Final = 2

_HEADER: Final = struct.Struct(">II")
#: A frame's longest payload: the longest message of ttrpc with its header.
LONGEST: Final = 10 + (4 << 20)
#: Go's plugins read by buffers of this size, and fail on a first frame that is longer. They take
#: the rest of a message in one frame, and lose the connection when too many frames wait.
FIRST: Final = 4096


def frames(stream: int, message: bytes) -> bytes:
    """One whole message as it goes on the socket: in one frame, or in two."""
    out = bytearray()
    for piece in (message[:FIRST], message[FIRST:]):
        if piece:
            out += _HEADER.pack(stream, len(piece))
            out += piece
    return bytes(out)


class Demultiplexer:
    """Takes what was read from the socket, and tells the streams' bytes apart."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Pieces of streams, in order, as soon as they are there. Raises ProtocolError."""
        at = 0
        while at < len(data):
            if not self._left:
                wanted = _HEADER.size - len(self._head)
                self._head += data[at : at + wanted]
                at += wanted
                if len(self._head) == _HEADER.size:
                    self._begin()
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            yield self._stream, piece

    def _begin(self) -> None:
        self._stream, self._left = _HEADER.unpack(self._head)
        self._head.clear()
        if self._left > LONGEST:
            raise ProtocolError(f"a frame of {self._left} bytes on stream {self._stream}")


__all__ = ["FIRST", "LONGEST", "PLUGIN", "RUNTIME", "Demultiplexer", "frames"]
