"""A SPDY session without a socket: what a client may do, and what ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.streaming.wire import Wire

from trilby.cri.streaming import spdy_frames as frames
from trilby.cri.streaming.errors import StreamClosed
from trilby.cri.streaming.spdy import MAX_STREAMS, SpdySession, SpdyStream


class Peer:
    """A session, the frames that it has sent, and what it has told."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.opened: list[SpdyStream] = []
        self.ended = 0
        self.encoder = frames.Encoder()
        self._decoder = frames.Decoder()
        self.session = SpdySession(
            self.wire, accept=self.accept, on_stream=self.opened.append, on_end=self.end
        )

    def accept(self, stream: SpdyStream) -> str:
        return "" if stream.headers.get("ok", "yes") == "yes" else "no"

    def end(self) -> None:
        self.ended += 1

    def open(self, number: int, **headers: str) -> None:
        self.session.feed(self.encoder.syn_stream(number, headers))

    def sent(self) -> list[frames.Frame]:
        data, self.wire.data = self.wire.data, b""
        return list(self._decoder.feed(data))


@pytest.fixture
def peer() -> Peer:
    return Peer()


async def read_all(stream: SpdyStream) -> bytes:
    found = b""
    while piece := await stream.incoming.read():
        found += bytes(piece)
    return found


async def test_a_stream(peer: Peer) -> None:
    peer.open(1, streamtype="data")
    assert peer.sent() == [frames.SynReply(1, {})]
    (stream,) = peer.opened
    assert stream.headers == {"streamtype": "data"}
    peer.session.feed(frames.data_head(1, 5) + b"hello")
    peer.session.feed(frames.data_head(1, 6, fin=True) + b" world")
    assert await read_all(stream) == b"hello world"
    await stream.write(b"x" * 70000)
    stream.finish()
    stream.finish()
    first, second, last = peer.sent()
    assert isinstance(first, frames.Data) and isinstance(second, frames.Data)
    assert bytes(first.data) + bytes(second.data) == b"x" * 70000
    assert last == frames.Data(1, b"", True)
    assert peer.session.streams == {} and peer.wire.held == 0
    with pytest.raises(StreamClosed):
        await stream.write(b"more")


async def test_resets(peer: Peer) -> None:
    called: list[int] = []
    for number in (1, 3):
        peer.open(number)
    one, two = peer.opened
    one.on_reset = lambda: called.append(1)
    peer.session.feed(frames.data_head(1, 3) + b"abc" + frames.reset(1, frames.CANCEL))
    assert called == [1] and await one.incoming.read() == b""
    with pytest.raises(StreamClosed):
        await one.write(b"x")
    peer.sent()
    two.reset()
    two.reset()
    assert peer.sent() == [frames.Reset(3, frames.CANCEL)]
    # What was on its way is no violation.
    peer.session.feed(frames.data_head(3, 3) + b"abc" + frames.reset(3, 1))
    assert peer.session.streams == {} and peer.wire.held == 0 and peer.ended == 0


def test_refusals(peer: Peer) -> None:
    peer.open(1, ok="no")
    assert peer.sent() == [frames.Reset(1, frames.CANCEL)]
    for number in range(3, 3 + 2 * MAX_STREAMS, 2):
        peer.open(number)
    peer.sent()
    peer.open(3 + 2 * MAX_STREAMS)
    assert peer.sent() == [frames.Reset(3 + 2 * MAX_STREAMS, frames.REFUSED_STREAM)]
    assert len(peer.opened) == len(peer.session.streams) == MAX_STREAMS


def test_pings_windows_and_the_rest(peer: Peer) -> None:
    feed = peer.session.feed
    feed(frames.ping(5) + frames.ping(2) + frames.settings({4: 100}))
    feed(frames.window_update(0, 1000) + frames.window_update(9, 1))
    feed(peer.encoder.syn_reply(2, {}))
    assert peer.sent() == [frames.Ping(5)]
    peer.session.show_life()
    assert peer.sent() == [frames.Settings({})]
    assert peer.ended == 0


def violations() -> dict[str, bytes]:
    encoder = frames.Encoder()
    return {
        "even": encoder.syn_stream(2, {}),
        "not open": frames.data_head(7, 1) + b"x",
        "no frame": b"\xff" * 8,
    }


@pytest.mark.parametrize("name", violations())
def test_violations(peer: Peer, name: str) -> None:
    peer.session.feed(violations()[name])
    assert peer.sent()[-1] == frames.GoAway(0, frames.GOAWAY_PROTOCOL_ERROR)
    assert peer.ended == 1
    peer.session.feed(frames.ping(1))
    peer.session.close()
    assert peer.sent() == []


def test_numbers_must_grow(peer: Peer) -> None:
    peer.open(5)
    peer.open(3)
    assert peer.ended == 1 and peer.session.streams == {}
    assert peer.opened[0].incoming.ended


def test_the_end(peer: Peer) -> None:
    for number in (1, 3):
        peer.open(number)
    peer.opened[0].finish()
    peer.sent()
    peer.session.close()
    cancel = [frames.Reset(number, frames.CANCEL) for number in (1, 3)]
    assert peer.sent() == [*cancel, frames.GoAway(3, frames.GOAWAY_OK)]
    other = Peer()
    other.open(1)
    other.session.feed(frames.goaway(0, 0))
    assert other.ended == 1 and other.opened[0].incoming.ended


@given(st.lists(st.integers(0, 3), max_size=40), st.data())
def test_whatever_comes_nothing_is_kept(kinds: list[int], data: st.DataObject) -> None:
    """At the end of a session nothing waits in it, whatever the order of frames was."""
    peer = Peer()
    last = -1
    for kind in kinds:
        number = data.draw(st.integers(0, max(last, 0))) | 1
        if kind == 0:
            last += 2
            peer.open(last)
        elif kind == 1 and last > 0:
            fin = data.draw(st.booleans())
            peer.session.feed(frames.data_head(number, 4, fin=fin) + b"data")
        elif kind == 2:
            peer.session.feed(frames.reset(number, frames.CANCEL))
        elif peer.opened:
            stream = data.draw(st.sampled_from(peer.opened))
            stream.finish()
    peer.session.close()
    for stream in peer.opened:
        stream.incoming.discard()
    assert peer.wire.held == 0 and peer.session.streams == {}
