"""ttrpc's messages on a byte stream (ttrpc 1.2, unary calls only).

Ten bytes before each: the length of the data, the number of the call, what it is, and flags.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from trilby.cri.nri.errors import MessageTooLong, ProtocolError

REQUEST: Final = 1
RESPONSE: Final = 2
DATA: Final = 3

#: The most data that a message may have.
LONGEST: Final = 4 << 20
_HEADER: Final = struct.Struct(">IIBB")

# gRPC's codes that occur here.
OK: Final = 0
UNKNOWN: Final = 2
INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13


class Message(NamedTuple):
    """``call`` is odd, and grows: the caller's number for it."""

    call: int
    kind: int
    flags: int
    data: bytes


def encode(message: Message) -> bytes:
    """The bytes of one message. Raises MessageTooLong."""
    length = len(message.data)
    if length > LONGEST:
        raise MessageTooLong(length, LONGEST)
    return _HEADER.pack(length, message.call, message.kind, message.flags) + message.data


class MessageReader:
    """Takes pieces of a stream, and gives its messages. Keeps one message at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now. Raises ProtocolError for one that is too long."""
        self._buffer += data
        found = []
        at = 0
        while len(self._buffer) - at >= _HEADER.size:
            length, call, kind, flags = _HEADER.unpack_from(self._buffer, at)
            if length > LONGEST:
                raise ProtocolError(f"a message of {length} bytes is longer than {LONGEST}")
            end = at + _HEADER.size + length
            if len(self._buffer) < end:
                break
            found.append(Message(call, kind, flags, bytes(self._buffer[end - length : end])))
            at = end
        del self._buffer[:at]
        return found


__all__ = [
    "DATA",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "LONGEST",
    "OK",
    "REQUEST",
    "RESOURCE_EXHAUSTED",
    "RESPONSE",
    "UNIMPLEMENTED",
    "UNKNOWN",
    "Message",
    "MessageReader",
    "encode",
]
