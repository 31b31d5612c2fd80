"""WebSocket framing: round trips in any pieces, and hostile frames."""

from __future__ import annotations

import os
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.cri.streaming import websocket_frames as ws
from trilby.cri.streaming.errors import ProtocolViolation


def frame(
    opcode: int,
    payload: bytes,
    *,
    final: bool = True,
    mask: bytes | None = None,
    reserved: int = 0,
) -> bytes:
    mask = os.urandom(4) if mask is None else mask
    head = bytes((opcode | (0x80 if final else 0) | reserved,))
    length = len(payload)
    if length < 126:
        head += bytes((0x80 | length,))
    elif length < 1 << 16:
        head += struct.pack("!BH", 0x80 | 126, length)
    else:
        head += struct.pack("!BQ", 0x80 | 127, length)
    plain = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return head + mask + plain


def decode(pieces: list[bytes]) -> list[bytes | ws.Control]:
    """Whole messages and control frames."""
    decoder = ws.Decoder()
    found: list[bytes | ws.Control] = []
    message = b""
    begun = False
    for piece in pieces:
        for got in decoder.feed(piece):
            if isinstance(got, ws.Control):
                found.append(got)
                continue
            assert got.first is not begun
            begun = not got.last
            message += bytes(got.data)
            if got.last:
                found.append(message)
                message = b""
    return found


MESSAGES = st.lists(
    st.one_of(
        st.lists(st.binary(max_size=200), min_size=1, max_size=3),
        st.builds(
            ws.Control, st.sampled_from([ws.PING, ws.PONG, ws.CLOSE]), st.binary(max_size=125)
        ),
    ),
    max_size=6,
)


@given(MESSAGES, st.lists(st.integers(0, 2000), max_size=12))
def test_round_trip_in_any_pieces(
    messages: list[list[bytes] | ws.Control], cuts: list[int]
) -> None:
    data = b""
    for message in messages:
        if isinstance(message, ws.Control):
            data += frame(message.opcode, message.payload)
            continue
        for at, part in enumerate(message):
            opcode = ws.CONTINUATION if at else ws.BINARY
            data += frame(opcode, part, final=at == len(message) - 1)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    expected = [m if isinstance(m, ws.Control) else b"".join(m) for m in messages]
    assert decode([data[a:b] for a, b in pairwise(edges)]) == expected


@given(st.binary(max_size=1000), st.binary(min_size=4, max_size=4), st.integers(0, 9))
def test_unmask(data: bytes, mask: bytes, offset: int) -> None:
    plain = bytes(byte ^ mask[(at + offset) % 4] for at, byte in enumerate(data))
    assert ws.unmask(memoryview(data), mask, offset) == plain


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_lengths(length: int) -> None:
    payload = os.urandom(length)
    assert decode([frame(ws.BINARY, payload)]) == [payload]
    head = ws.head(ws.BINARY, length)
    assert len(head) == (2 if length < 126 else 4 if length < 65536 else 10)


def test_control_frames_within_a_message() -> None:
    data = frame(ws.TEXT, b"one ", final=False) + frame(ws.PING, b"p") + frame(0, b"message")
    assert decode([data]) == [ws.Control(ws.PING, b"p"), b"one message"]


HOSTILE = {
    "no mask": b"\x82\x01xyzw",
    "reserved bits": frame(ws.BINARY, b"x", reserved=0x40),
    "unknown kind": frame(0x3, b"x"),
    "unknown control": frame(0xB, b"x"),
    "continuation of nothing": frame(ws.CONTINUATION, b"x"),
    "a message within a message": frame(ws.BINARY, b"x", final=False) + frame(ws.TEXT, b"y"),
    "long ping": frame(ws.PING, bytes(126)),
    "ping in parts": frame(ws.PING, b"", final=False),
    "negative length": b"\x82\xff" + b"\xff" * 8 + b"mask",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames(name: str) -> None:
    data = HOSTILE[name]
    with pytest.raises(ProtocolViolation):
        decode([data])
    with pytest.raises(ProtocolViolation):
        decode([data[at : at + 1] for at in range(len(data))])


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        decode([data])
    except ProtocolViolation:
        pass
