"""Frames and messages of NRI's connections: what is written is read again, nonsense is refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.cri.nri import mux, ttrpc
from trilby.cri.nri.errors import MessageTooLong, ProtocolError

NUMBERS = st.integers(0, (1 << 32) - 1)
MESSAGES = st.builds(
    ttrpc.Message,
    call=NUMBERS,
    kind=st.integers(0, 255),
    flags=st.integers(0, 255),
    data=st.one_of(st.binary(max_size=40), st.binary(min_size=4080, max_size=9000)),
)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Data as a socket may give it."""
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for begin, end in zip(places, places[1:], strict=False):
        yield data[begin:end]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 7]), MESSAGES), max_size=5),
    st.lists(st.integers(0, 30000), max_size=12),
)
def test_messages_come_out_as_they_went_in(
    sent: list[tuple[int, ttrpc.Message]], cuts: list[int]
) -> None:
    wire = b"".join(mux.frames(stream, ttrpc.encode(message)) for stream, message in sent)
    streams = mux.Demultiplexer()
    readers = {stream: ttrpc.MessageReader() for stream in (1, 2, 7)}
    found: dict[int, list[ttrpc.Message]] = {1: [], 2: [], 7: []}
    for data in pieces(wire, cuts):
        for stream, piece in streams.feed(data):
            found[stream] += readers[stream].feed(piece)
    for stream, messages in found.items():
        assert messages == [message for number, message in sent if number == stream]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_any_bytes_are_pieces_or_refused(data: bytes, cuts: list[int]) -> None:
    streams = mux.Demultiplexer()
    reader = ttrpc.MessageReader()
    total = 0
    try:
        for part in pieces(data, cuts):
            for _, piece in streams.feed(part):
                total += len(piece)
                reader.feed(piece)
    except ProtocolError:
        pass
    assert total <= len(data)


def test_a_message_is_in_one_frame_or_in_two_that_go_can_read() -> None:
    """Go's plugins read at first with a buffer of 4096 bytes, the rest by its exact length."""
    small = ttrpc.encode(ttrpc.Message(1, ttrpc.REQUEST, 0, b"x" * 4086))
    assert [len(piece) for _, piece in mux.Demultiplexer().feed(mux.frames(1, small))] == [4096]
    large = ttrpc.encode(ttrpc.Message(1, ttrpc.REQUEST, 0, b"x" * 100_000))
    lengths = [len(piece) for _, piece in mux.Demultiplexer().feed(mux.frames(1, large))]
    assert lengths == [4096, 100_010 - 4096]


def test_the_bytes_are_those_of_the_protocols() -> None:
    message = ttrpc.encode(ttrpc.Message(call=3, kind=ttrpc.RESPONSE, flags=1, data=b"ab"))
    assert message == bytes.fromhex("00000002 00000003 02 01") + b"ab"
    assert mux.frames(2, message) == bytes.fromhex("00000002 0000000c") + message


def test_the_longest_message_passes_and_a_longer_one_does_not() -> None:
    longest = ttrpc.Message(1, ttrpc.REQUEST, 0, bytes(ttrpc.LONGEST))
    streams, reader = mux.Demultiplexer(), ttrpc.MessageReader()
    found = []
    for _, piece in streams.feed(mux.frames(1, ttrpc.encode(longest))):
        found += reader.feed(piece)
    assert found == [longest]
    with pytest.raises(MessageTooLong) as refused:
        ttrpc.encode(longest._replace(data=bytes(ttrpc.LONGEST + 1)))
    assert refused.value.length == ttrpc.LONGEST + 1


@pytest.mark.parametrize("length", [mux.LONGEST + 1, (1 << 32) - 1])
def test_a_frame_that_is_too_long_is_refused_by_its_header(length: int) -> None:
    with pytest.raises(ProtocolError):
        list(mux.Demultiplexer().feed(struct.pack(">II", 1, length)))


@pytest.mark.parametrize("length", [ttrpc.LONGEST + 1, (1 << 32) - 1])
def test_a_message_that_is_too_long_is_refused_by_its_header(length: int) -> None:
    with pytest.raises(ProtocolError):
        ttrpc.MessageReader().feed(struct.pack(">IIBB", length, 1, 1, 0))


def test_a_frame_without_content_is_nothing() -> None:
    empty = struct.pack(">II", 1, 0)
    wire = empty + mux.frames(2, b"abc") + empty
    assert list(mux.Demultiplexer().feed(wire)) == [(2, b"abc")]
