"""A plugin's connection, with a real socket whose other end the test holds."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest
from tests.support.nri_peer import Peer, peer_of

from trilby.cri.nri import mux, ttrpc
from trilby.cri.nri.connection import CALLS, PACKAGE, Connection, Service
from trilby.cri.nri.errors import CallRefused, Disconnected, MessageTooLong, PluginTimeout
from trilby.cri.nri.proto import ttrpc_pb2 as pb


async def upper(method: str, payload: bytes) -> bytes:
    if method == "Refuse":
        raise CallRefused(ttrpc.INVALID_ARGUMENT, "no")
    if method == "Wait":
        await asyncio.Event().wait()
    if method == "Fail":
        raise RuntimeError("broken")
    return method.encode() + payload.upper()


@contextlib.asynccontextmanager
async def connected(service: Service = upper) -> AsyncIterator[tuple[Connection, Peer]]:
    connection = Connection(service)
    async with peer_of(connection) as peer:
        yield connection, peer


async def test_calls_in_both_directions_at_once() -> None:
    async with connected() as (connection, peer):
        calls = [
            asyncio.ensure_future(connection.call(name, b"q" * 9000, 5)) for name in ("A", "B")
        ]
        requests = [(await peer.receive())[1] for _ in calls]
        assert [message.call for message in requests] == [1, 3]
        told = [pb.Request.FromString(message.data) for message in requests]
        assert [one.method for one in told] == ["A", "B"]
        assert all(one.service == f"{PACKAGE}.Plugin" for one in told)
        assert all(0 < one.timeout_nano <= 5_000_000_000 for one in told)
        peer.call(1, "Echo", b"abc")
        assert await peer.response() == (1, pb.Response(status=pb.Status(), payload=b"EchoABC"))
        peer.answer(3, b"second" * 2000)
        peer.answer(1, b"first")
        assert await asyncio.gather(*calls) == [b"first", b"second" * 2000]


async def test_an_error_that_the_plugin_answers() -> None:
    async with connected() as (connection, peer):
        call = asyncio.ensure_future(connection.call("A", b"", 5))
        await peer.receive()
        peer.answer(1, code=ttrpc.UNKNOWN, text="I will not")
        with pytest.raises(CallRefused, match="I will not") as refused:
            await call
        assert refused.value.code == ttrpc.UNKNOWN


async def test_no_answer_in_time_and_one_that_is_late() -> None:
    async with connected() as (connection, peer):
        with pytest.raises(PluginTimeout):
            await connection.call("A", b"", 0.05)
        await peer.receive()
        peer.answer(1, b"late")
        call = asyncio.ensure_future(connection.call("B", b"", 5))
        assert (await peer.receive())[1].call == 3
        peer.answer(3, b"in time")
        assert await call == b"in time"


async def test_what_waits_when_the_plugin_leaves_is_told() -> None:
    async with connected() as (connection, peer):
        call = asyncio.ensure_future(connection.call("A", b"", 5))
        await peer.receive()
        peer.writer.close()
        with pytest.raises(Disconnected):
            await call
        await asyncio.wait_for(connection.closed.wait(), 5)
        with pytest.raises(Disconnected):
            await connection.call("B", b"", 5)


async def test_a_request_that_is_too_long_is_not_sent() -> None:
    async with connected() as (connection, peer):
        with pytest.raises(MessageTooLong):
            await connection.call("A", bytes(ttrpc.LONGEST), 5)
        call = asyncio.ensure_future(connection.call("B", b"", 5))
        stream, message = await peer.receive()
        peer.answer(message.call, b"fine")
        assert (stream, await call) == (mux.PLUGIN, b"fine")


@pytest.mark.parametrize(
    ("method", "service", "code"),
    [
        ("Refuse", "Runtime", ttrpc.INVALID_ARGUMENT),
        ("Fail", "Runtime", ttrpc.INTERNAL),
        ("Echo", "Plugin", ttrpc.UNIMPLEMENTED),
    ],
)
async def test_calls_of_the_plugin_that_are_refused(method: str, service: str, code: int) -> None:
    async with connected() as (_, peer):
        peer.call(1, method, service=service)
        number, response = await peer.response()
        assert (number, response.status.code) == (1, code)


async def test_a_call_of_the_plugin_ends_with_its_own_timeout() -> None:
    async with connected() as (_, peer):
        request = pb.Request(service=f"{PACKAGE}.Runtime", method="Wait", timeout_nano=10_000_000)
        peer.send(mux.RUNTIME, 1, ttrpc.REQUEST, request.SerializeToString())
        number, response = await peer.response()
        assert (number, response.status.code) == (1, ttrpc.DEADLINE_EXCEEDED)


async def test_too_many_calls_of_a_plugin_are_refused() -> None:
    async with connected() as (_, peer):
        for number in range(CALLS + 1):
            peer.call(2 * number + 1, "Wait")
        number, response = await peer.response()
        assert (number, response.status.code) == (2 * CALLS + 1, ttrpc.RESOURCE_EXHAUSTED)


def _message(call: int, kind: int, data: bytes) -> bytes:
    return ttrpc.encode(ttrpc.Message(call, kind, 0, data))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", 1, 1 << 31),
        mux.frames(2, struct.pack(">IIBB", 1 << 31, 1, 1, 0)),
        mux.frames(2, _message(2, ttrpc.REQUEST, b"")),
        mux.frames(2, _message(1, ttrpc.REQUEST, b"\xff\xff")),
        mux.frames(2, _message(3, ttrpc.REQUEST, b"") + _message(3, ttrpc.REQUEST, b"")),
    ],
    ids=["frame", "message", "even call", "no request", "a call's number again"],
)
async def test_what_is_not_the_protocol_ends_the_connection(data: bytes) -> None:
    async with connected() as (connection, peer):
        peer.writer.write(data)
        assert await peer.ended()
        assert connection.closed.is_set()


@pytest.mark.parametrize("kind", [ttrpc.DATA, ttrpc.REQUEST, 9])
async def test_an_answer_of_another_kind_ends_the_connection(kind: int) -> None:
    async with connected() as (connection, peer):
        call = asyncio.ensure_future(connection.call("A", b"", 5))
        await peer.receive()
        peer.send(mux.PLUGIN, 1, kind, b"")
        with pytest.raises(Disconnected):
            await call


async def test_other_streams_and_unknown_answers_are_dropped() -> None:
    async with connected() as (_, peer):
        peer.writer.write(mux.frames(9, b"\xff" * 5000))
        peer.answer(77, b"nobody asked")
        peer.send(mux.RUNTIME, 5, ttrpc.DATA, b"streaming")
        peer.call(1, "Echo", b"x")
        assert (await peer.response())[1].payload == b"EchoX"
