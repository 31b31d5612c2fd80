"""SPDY/3.1 frames: bytes to values and back, with a bound on everything. No I/O.

draft-mbelshe-httpbis-spdy-00 with the change of 3.1 (session flow control). What a peer may send
is limited here: a control frame, what its headers expand to, and how many there are. Payloads of
DATA frames are handed on in the pieces that arrive, so a frame's length costs no memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from trilby.cri.streaming.errors import ProtocolViolation
from trilby.cri.streaming.spdy_dictionary import DICTIONARY

VERSION: Final = 3
FIN: Final = 0x01
UNIDIRECTIONAL: Final = 0x02

SYN_STREAM: Final = 1
SYN_REPLY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
HEADERS: Final = 8
WINDOW_UPDATE: Final = 9

# Status codes of RST_STREAM and of GOAWAY.
PROTOCOL_ERROR: Final = 1
REFUSED_STREAM: Final = 3
CANCEL: Final = 5
GOAWAY_OK: Final = 0
GOAWAY_PROTOCOL_ERROR: Final = 1

MAX_CONTROL: Final = 1 << 14
MAX_HEADER_BLOCK: Final = 1 << 13
MAX_HEADERS: Final = 100
MAX_DATA: Final = (1 << 24) - 1

_HEAD: Final = struct.Struct("!II")
_CONTROL_HEAD: Final = struct.Struct("!HHI")
_ONE: Final = struct.Struct("!I")
_TWO: Final = struct.Struct("!II")
_ID: Final = 0x7FFFFFFF
_CONTROL: Final = 0x80000000

Buffer = bytes | bytearray | memoryview


class SynStream(msgspec.Struct, frozen=True):
    """A new stream."""

    stream_id: int
    headers: dict[str, str]
    fin: bool = False
    unidirectional: bool = False


class SynReply(msgspec.Struct, frozen=True):
    """The acceptance of a stream."""

    stream_id: int
    headers: dict[str, str]
    fin: bool = False


class Headers(msgspec.Struct, frozen=True):
    """More headers of a stream."""

    stream_id: int
    headers: dict[str, str]
    fin: bool = False


class Data(msgspec.Struct, frozen=True):
    """A piece of a DATA frame; ``fin`` only on the last piece of a frame that has it."""

    stream_id: int
    data: Buffer
    fin: bool = False


class Reset(msgspec.Struct, frozen=True):
    """The end of a stream, both ways."""

    stream_id: int
    status: int


class Settings(msgspec.Struct, frozen=True):
    """Values by their numbers."""

    values: dict[int, int]


class Ping(msgspec.Struct, frozen=True):
    """To be sent back if it is the other's; the client's are odd."""

    ping_id: int


class GoAway(msgspec.Struct, frozen=True):
    """No more streams, please."""

    last_stream_id: int
    status: int


class WindowUpdate(msgspec.Struct, frozen=True):
    """So many bytes more may be sent."""

    stream_id: int
    delta: int


Frame = SynStream | SynReply | Headers | Data | Reset | Settings | Ping | GoAway | WindowUpdate


class Encoder:
    """Frames to bytes. Header blocks are one compressed stream, so send them in this order."""

    def __init__(self) -> None:
        # A small window: blocks are tens of bytes, and a connection should cost little.
        self._compress = zlib.compressobj(
            6, zlib.DEFLATED, 11, 2, zlib.Z_DEFAULT_STRATEGY, DICTIONARY
        )

    def syn_stream(self, stream_id: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """A new stream, of the middle priority."""
        payload = _TWO.pack(stream_id, 0) + b"\0\0" + self._block(headers)
        return _control(SYN_STREAM, FIN if fin else 0, payload)

    def syn_reply(self, stream_id: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """A stream is accepted."""
        payload = _ONE.pack(stream_id) + self._block(headers)
        return _control(SYN_REPLY, FIN if fin else 0, payload)

    def headers(self, stream_id: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """More headers."""
        payload = _ONE.pack(stream_id) + self._block(headers)
        return _control(HEADERS, FIN if fin else 0, payload)

    def _block(self, headers: Mapping[str, str]) -> bytes:
        parts = [_ONE.pack(len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode("latin-1"), value.encode("latin-1")):
                parts += (_ONE.pack(len(text)), text)
        block = self._compress.compress(b"".join(parts))
        return block + self._compress.flush(zlib.Z_SYNC_FLUSH)


def data_head(stream_id: int, length: int, *, fin: bool = False) -> bytes:
    """What comes before the ``length`` bytes of a DATA frame."""
    return _HEAD.pack(stream_id & _ID, (FIN if fin else 0) << 24 | length)


def reset(stream_id: int, status: int) -> bytes:
    """RST_STREAM."""
    return _control(RST_STREAM, 0, _TWO.pack(stream_id, status))


def settings(values: Mapping[int, int]) -> bytes:
    """SETTINGS."""
    pairs = b"".join(_TWO.pack(number, value) for number, value in values.items())
    return _control(SETTINGS, 0, _ONE.pack(len(values)) + pairs)


def ping(ping_id: int) -> bytes:
    """PING."""
    return _control(PING, 0, _ONE.pack(ping_id))


def goaway(last_stream_id: int, status: int) -> bytes:
    """GOAWAY."""
    return _control(GOAWAY, 0, _TWO.pack(last_stream_id, status))


def window_update(stream_id: int, delta: int) -> bytes:
    """WINDOW_UPDATE."""
    return _control(WINDOW_UPDATE, 0, _TWO.pack(stream_id, delta))


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return _CONTROL_HEAD.pack(0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload


class Decoder:
    """Bytes, in pieces of any size, to frames. Raises ProtocolViolation; then it is of no use."""

    def __init__(self) -> None:
        self._expand = zlib.decompressobj(zdict=DICTIONARY)
        # What has arrived of a head, or of a control frame's payload, and how much there must be.
        self._part = bytearray()
        self._need = _HEAD.size
        # The control frame whose payload comes next: its kind and flags.
        self._control: tuple[int, int] | None = None
        # The DATA frame that is being read: bytes to come, its stream, whether it is the last.
        self._left = 0
        self._stream_id = 0
        self._fin = False

    def feed(self, data: Buffer) -> Iterator[Frame]:
        """The frames that are complete with ``data``; pieces of it are views, not copies.

        The iterator has to be used up before the next call.
        """
        view = memoryview(data)
        while view:
            frame: Frame | None
            if self._left:
                piece, view = view[: self._left], view[self._left :]
                self._left -= len(piece)
                frame = Data(self._stream_id, piece, self._fin and not self._left)
            elif not self._part and len(view) >= self._need:
                piece, view = view[: self._need], view[self._need :]
                frame = self._complete(piece)
            else:
                missing = self._need - len(self._part)
                self._part += view[:missing]
                view = view[missing:]
                if len(self._part) < self._need:
                    return
                piece = memoryview(bytes(self._part))
                self._part.clear()
                frame = self._complete(piece)
            if frame is not None:
                yield frame

    def _complete(self, piece: memoryview) -> Frame | None:
        """A head, or a control frame's payload, is there."""
        if self._control is not None:
            kind, flags = self._control
            self._control, self._need = None, _HEAD.size
            return self._control_frame(kind, flags, bytes(piece))
        first, second = _HEAD.unpack(piece)
        flags, length = second >> 24, second & MAX_DATA
        if first & _CONTROL:
            version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
            if version != VERSION:
                raise ProtocolViolation(f"SPDY: version {version}")
            if length > MAX_CONTROL:
                raise ProtocolViolation(f"SPDY: a control frame of {length} bytes")
            if not length:
                return self._control_frame(kind, flags, b"")
            self._control, self._need = (kind, flags), length
            return None
        self._left, self._stream_id, self._fin = length, _stream_id(first), bool(flags & FIN)
        return None if length else Data(first, b"", self._fin)

    def _control_frame(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        try:
            return self._parse(kind, flags, payload)
        except (struct.error, IndexError):
            raise ProtocolViolation(f"SPDY: control frame {kind} is too short") from None

    def _parse(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        fin = bool(flags & FIN)
        number = _ONE.unpack_from(payload)[0] if payload else 0
        if kind in (SYN_STREAM, SYN_REPLY, HEADERS):
            stream_id = _stream_id(number)
            if kind == SYN_STREAM:
                if len(payload) < 10:
                    raise ProtocolViolation("SPDY: SYN_STREAM is too short")
                headers = self._headers(payload[10:])
                return SynStream(stream_id, headers, fin, bool(flags & UNIDIRECTIONAL))
            headers = self._headers(payload[4:])
            made = SynReply if kind == SYN_REPLY else Headers
            return made(stream_id, headers, fin)
        if kind == SETTINGS:
            if len(payload) != 4 + 8 * number:
                raise ProtocolViolation("SPDY: SETTINGS of another length than it says")
            pairs = _TWO.iter_unpack(payload[4:])
            return Settings({key & 0xFFFFFF: value for key, value in pairs})
        if kind == PING:
            if not number:
                raise ProtocolViolation("SPDY: PING 0")
            return Ping(number)
        if kind in (RST_STREAM, GOAWAY, WINDOW_UPDATE):
            number, value = _TWO.unpack_from(payload)
            if kind == RST_STREAM:
                return Reset(_stream_id(number), value)
            if kind == GOAWAY:
                return GoAway(number & _ID, value)
            return WindowUpdate(number & _ID, value & _ID)
        return None  # unknown kinds are to be ignored

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._expand.decompress(block, MAX_HEADER_BLOCK)
        except zlib.error as error:
            raise ProtocolViolation(f"SPDY: headers: {error}") from None
        if self._expand.unconsumed_tail or self._expand.eof:
            raise ProtocolViolation("SPDY: headers are too large, or end their stream")
        (count,) = _ONE.unpack_from(text)
        if count > MAX_HEADERS:
            raise ProtocolViolation(f"SPDY: {count} headers")
        found: dict[str, str] = {}
        at = 4
        for _ in range(count):
            name, at = _text(text, at)
            value, at = _text(text, at)
            if not name or name in found or name != name.lower():
                raise ProtocolViolation(f"SPDY: header {name!r} is empty, twice or not lower case")
            found[name] = value
        if at != len(text):
            raise ProtocolViolation("SPDY: more in a header block than its headers")
        return found


def _stream_id(number: int) -> int:
    if not number & _ID:
        raise ProtocolViolation("SPDY: stream 0")
    return number & _ID


def _text(block: bytes, at: int) -> tuple[str, int]:
    (length,) = _ONE.unpack_from(block, at)
    end = at + 4 + length
    if end > len(block):
        raise ProtocolViolation("SPDY: a header is longer than its block")
    return block[at + 4 : end].decode("latin-1"), end
