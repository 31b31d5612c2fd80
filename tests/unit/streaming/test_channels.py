"""The channels of WebSocket messages: bytes, base64, closing."""

from __future__ import annotations

import asyncio
import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.streaming.wire import Wire

from trilby.cri.streaming.channels import Channels
from trilby.cri.streaming.errors import ProtocolViolation
from trilby.cri.streaming.streams import Incoming
from trilby.cri.streaming.websocket import WebSocket


def make(*, base64: bool = False, closing: bool = False) -> tuple[Wire, Channels]:
    wire = Wire()
    incoming = {0: Incoming(wire.hold), 4: Incoming(wire.hold)}
    channels = Channels(incoming, base64=base64, closing=closing)
    channels.socket = WebSocket(wire, channels, lambda: None)
    return wire, channels


async def everything(stream: Incoming) -> bytes:
    stream.end()
    found = b""
    while piece := await stream.read():
        found += bytes(piece)
    return found


def send(channels: Channels, message: bytes, cuts: list[int] | None = None) -> None:
    edges = [0, *sorted(cut for cut in cuts or [] if cut < len(message)), len(message)]
    for at in range(len(edges) - 1):
        part = message[edges[at] : edges[at + 1]]
        channels.receive(part, first=at == 0, last=at == len(edges) - 2)


@given(st.lists(st.binary(max_size=60), max_size=4), st.lists(st.integers(0, 80), max_size=5))
def test_pieces_of_messages(messages: list[bytes], cuts: list[int]) -> None:
    for text in (False, True):
        wire, channels = make(base64=text)
        for message in messages:
            encoded = b"0" + base64.b64encode(message) if text else b"\0" + message
            send(channels, encoded, cuts)
        assert asyncio.run(everything(channels.incoming[0])) == b"".join(messages)
        assert wire.held == 0


def test_unknown_channels_and_empty_messages_are_ignored() -> None:
    _, channels = make()
    for message in (b"", b"\1out", b"\7what", b"\xff\0", b"\0in"):
        send(channels, message)
    assert not channels.incoming[0].ended
    assert asyncio.run(everything(channels.incoming[0])) == b"in"


def test_closing() -> None:
    _, channels = make(closing=True)
    send(channels, b"\xff\4")
    assert [channels.incoming[number].ended for number in (0, 4)] == [False, True]
    send(channels, b"\xff\1")
    send(channels, b"\xff\0", [1])
    assert [channels.incoming[number].ended for number in (0, 4)] == [True, True]
    for message in (b"\xff", b"\xff\0\0", b"\xff\0\0\0\0\0"):
        with pytest.raises(ProtocolViolation):
            send(channels, message)


def test_what_is_not_base64() -> None:
    for message in (b"0abc", b"0a*cd", b"0====", b"0YQ=="[:-1]):
        _, channels = make(base64=True)
        with pytest.raises(ProtocolViolation):
            send(channels, message)


def test_writing() -> None:
    async def write() -> tuple[bytes, bytes]:
        wire, channels = make()
        await channels.channel(1).write(b"hello")
        other, texts = make(base64=True)
        await texts.channel(2).write(b"hello")
        return wire.data, other.data

    raw, text = asyncio.run(write())
    assert raw == b"\x82\x06\x01hello"
    assert text == b"\x81\x092aGVsbG8="
