"""SPDY framing: round trips in any pieces, and hostile frames."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.cri.streaming import spdy_frames as spdy
from trilby.cri.streaming.errors import ProtocolViolation
from trilby.cri.streaming.spdy_dictionary import DICTIONARY

IDS = st.integers(1, 0x7FFFFFFF)
NUMBERS = st.integers(0, 0xFFFFFFFF)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
HEADERS = st.dictionaries(NAMES, st.text(st.characters(max_codepoint=255), max_size=40), max_size=8)

FRAMES = st.one_of(
    st.builds(spdy.SynStream, IDS, HEADERS, st.booleans(), st.just(False)),
    st.builds(spdy.SynReply, IDS, HEADERS, st.booleans()),
    st.builds(spdy.Headers, IDS, HEADERS, st.booleans()),
    st.builds(spdy.Data, IDS, st.binary(max_size=300), st.booleans()),
    st.builds(spdy.Reset, IDS, NUMBERS),
    st.builds(spdy.Settings, st.dictionaries(st.integers(0, 0xFFFFFF), NUMBERS, max_size=5)),
    st.builds(spdy.Ping, st.integers(1, 0xFFFFFFFF)),
    st.builds(spdy.GoAway, st.integers(0, 0x7FFFFFFF), NUMBERS),
    st.builds(spdy.WindowUpdate, st.integers(0, 0x7FFFFFFF), st.integers(0, 0x7FFFFFFF)),
)


def encode(encoder: spdy.Encoder, frame: spdy.Frame) -> bytes:
    match frame:
        case spdy.SynStream():
            return encoder.syn_stream(frame.stream_id, frame.headers, fin=frame.fin)
        case spdy.SynReply():
            return encoder.syn_reply(frame.stream_id, frame.headers, fin=frame.fin)
        case spdy.Headers():
            return encoder.headers(frame.stream_id, frame.headers, fin=frame.fin)
        case spdy.Data():
            head = spdy.data_head(frame.stream_id, len(frame.data), fin=frame.fin)
            return head + bytes(frame.data)
        case spdy.Reset():
            return spdy.reset(frame.stream_id, frame.status)
        case spdy.Settings():
            return spdy.settings(frame.values)
        case spdy.Ping():
            return spdy.ping(frame.ping_id)
        case spdy.GoAway():
            return spdy.goaway(frame.last_stream_id, frame.status)
        case spdy.WindowUpdate():
            return spdy.window_update(frame.stream_id, frame.delta)


def decode(pieces: list[bytes]) -> list[spdy.Frame]:
    """The frames; pieces of one DATA frame are put together."""
    decoder = spdy.Decoder()
    found: list[spdy.Frame] = []
    partial = b""
    for piece in pieces:
        for frame in decoder.feed(piece):
            if isinstance(frame, spdy.Data):
                partial += bytes(frame.data)
                if decoder._left:
                    assert not frame.fin
                    continue
                frame, partial = spdy.Data(frame.stream_id, partial, frame.fin), b""
            found.append(frame)
    return found


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 3000), max_size=12))
def test_round_trip_in_any_pieces(frames: list[spdy.Frame], cuts: list[int]) -> None:
    encoder = spdy.Encoder()
    data = b"".join(encode(encoder, frame) for frame in frames)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    assert decode([data[a:b] for a, b in pairwise(edges)]) == frames


def test_byte_by_byte() -> None:
    encoder = spdy.Encoder()
    frames: list[spdy.Frame] = [
        spdy.SynStream(1, {"streamtype": "stdin"}),
        spdy.Data(1, b"hello", True),
        spdy.Ping(1),
        spdy.Data(3, b"", True),
        spdy.SynStream(5, {"streamtype": "error"}, True),
    ]
    data = b"".join(encode(encoder, frame) for frame in frames)
    assert decode([data[at : at + 1] for at in range(len(data))]) == frames


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        decode([data])
    except ProtocolViolation:
        pass


def control(kind: int, payload: bytes, *, flags: int = 0, version: int = 3) -> bytes:
    return struct.pack("!HHI", 0x8000 | version, kind, flags << 24 | len(payload)) + payload


def block(headers: bytes) -> bytes:
    packer = zlib.compressobj(zdict=DICTIONARY)
    return packer.compress(headers) + packer.flush(zlib.Z_SYNC_FLUSH)


def pairs(*texts: bytes, count: int | None = None) -> bytes:
    body = b"".join(struct.pack("!I", len(text)) + text for text in texts)
    return struct.pack("!I", len(texts) // 2 if count is None else count) + body


def syn(headers: bytes, stream_id: int = 1) -> bytes:
    return control(spdy.SYN_STREAM, struct.pack("!II", stream_id, 0) + b"\0\0" + headers)


HOSTILE = {
    "version": control(spdy.PING, b"\0\0\0\1", version=2),
    "huge control frame": struct.pack("!HHI", 0x8003, spdy.SYN_STREAM, spdy.MAX_CONTROL + 1),
    "data for stream 0": spdy.data_head(0, 5),
    "stream 0": syn(block(pairs()), 0),
    "reset of stream 0": control(spdy.RST_STREAM, bytes(8)),
    "short SYN_STREAM": control(spdy.SYN_STREAM, bytes(9)),
    "short RST_STREAM": control(spdy.RST_STREAM, b"\0\0\0\1"),
    "short GOAWAY": control(spdy.GOAWAY, b""),
    "short WINDOW_UPDATE": control(spdy.WINDOW_UPDATE, bytes(4)),
    "PING 0": control(spdy.PING, bytes(4)),
    "empty PING": control(spdy.PING, b""),
    "SETTINGS that lie": control(spdy.SETTINGS, struct.pack("!I", 0x10000000)),
    "SETTINGS with a rest": control(spdy.SETTINGS, struct.pack("!I", 0) + b"x"),
    "no zlib": syn(b"not zlib at all"),
    "another dictionary": syn(zlib.compress(pairs())),
    "a bomb": syn(block(pairs(b"a", bytes(10_000_000)))),
    "too many headers": syn(block(pairs(*[b"%d" % n for n in range(400)]))),
    "count that lies": syn(block(pairs(b"a", b"b", count=0x7FFFFFFF))),
    "length that lies": syn(block(struct.pack("!II", 1, 0x7FFFFFFF))),
    "twice the same": syn(block(pairs(b"a", b"b", b"a", b"c"))),
    "upper case": syn(block(pairs(b"A", b"b"))),
    "no name": syn(block(pairs(b"", b"b"))),
    "a rest": syn(block(pairs(b"a", b"b") + b"more")),
    "no headers at all": syn(b""),
    "an end of the zlib stream": syn(
        (lambda packer: packer.compress(pairs()) + packer.flush())(
            zlib.compressobj(zdict=DICTIONARY)
        )
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames(name: str) -> None:
    data = HOSTILE[name]
    with pytest.raises(ProtocolViolation):
        decode([data])
    with pytest.raises(ProtocolViolation):
        decode([data[at : at + 1] for at in range(len(data))])


def test_unknown_kinds_are_ignored() -> None:
    data = control(10, b"credential") + control(77, b"") + spdy.ping(3)
    assert decode([data]) == [spdy.Ping(3)]


def test_a_large_data_frame_is_handed_on_in_pieces() -> None:
    decoder = spdy.Decoder()
    head = spdy.data_head(1, spdy.MAX_DATA, fin=True)
    (first,) = decoder.feed(head + b"x")
    assert first == spdy.Data(1, b"x", False)
    for _ in range(15):
        (piece,) = decoder.feed(bytes(1 << 20))
        assert isinstance(piece, spdy.Data) and len(piece.data) == 1 << 20 and not piece.fin
    (last,) = decoder.feed(bytes(spdy.MAX_DATA - 1 - (15 << 20)))
    assert isinstance(last, spdy.Data) and last.fin
    assert list(decoder.feed(spdy.ping(1))) == [spdy.Ping(1)]


def test_the_dictionary_is_the_standards() -> None:
    assert len(DICTIONARY) == 1423
    # Every zlib stream that was made with it carries this number.
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2
