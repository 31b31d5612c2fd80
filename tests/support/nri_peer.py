"""The other end of a plugin's connection, in the test's own hands: it may say anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import TypeVar

from google.protobuf.message import Message

from trilby.cri.nri import mux, ttrpc
from trilby.cri.nri.connection import PACKAGE, Connection
from trilby.cri.nri.proto import plugin_pb2
from trilby.cri.nri.proto import ttrpc_pb2 as pb

M = TypeVar("M", bound=Message)


class Peer:
    """The plugin's end: reads and writes messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._streams = mux.Demultiplexer()
        self._readers = {1: ttrpc.MessageReader(), 2: ttrpc.MessageReader()}
        self._found: list[tuple[int, ttrpc.Message]] = []

    async def receive(self) -> tuple[int, ttrpc.Message]:
        async with asyncio.timeout(5):
            while not self._found:
                data = await self._reader.read(65536)
                assert data, "the connection was closed"
                for stream, piece in self._streams.feed(data):
                    self._found += [(stream, one) for one in self._readers[stream].feed(piece)]
        return self._found.pop(0)

    def send(self, stream: int, number: int, kind: int, data: bytes) -> None:
        self.writer.write(mux.frames(stream, ttrpc.encode(ttrpc.Message(number, kind, 0, data))))

    def answer(self, number: int, payload: bytes = b"", code: int = 0, text: str = "") -> None:
        response = pb.Response(status=pb.Status(code=code, message=text), payload=payload)
        self.send(mux.PLUGIN, number, ttrpc.RESPONSE, response.SerializeToString())

    def call(
        self, number: int, method: str, payload: bytes = b"", service: str = "Runtime"
    ) -> None:
        request = pb.Request(service=f"{PACKAGE}.{service}", method=method, payload=payload)
        self.send(mux.RUNTIME, number, ttrpc.REQUEST, request.SerializeToString())

    async def response(self) -> tuple[int, pb.Response]:
        stream, message = await self.receive()
        assert (stream, message.kind) == (mux.RUNTIME, ttrpc.RESPONSE)
        return message.call, pb.Response.FromString(message.data)

    async def ended(self) -> bool:
        async with asyncio.timeout(5):
            try:
                while await self._reader.read(65536):
                    pass
            except ConnectionResetError:
                pass
        return True

    # As a plugin that behaves

    async def request(self, kind: type[M]) -> tuple[int, str, M]:
        """The next call of the daemon: its number, its method, its request."""
        stream, message = await self.receive()
        assert (stream, message.kind) == (mux.PLUGIN, ttrpc.REQUEST)
        request = pb.Request.FromString(message.data)
        return message.call, request.method, kind.FromString(request.payload)

    async def register(self, name: str = "peer", index: str = "10", events: int = 0) -> None:
        """Through registration and configuration, up to the synchronisation."""
        self.call(
            1,
            "RegisterPlugin",
            plugin_pb2.RegisterPluginRequest(
                plugin_name=name, plugin_idx=index
            ).SerializeToString(),
        )
        number, response = await self.response()
        assert (number, response.status.code) == (1, 0), response.status.message
        number, method, _ = await self.request(plugin_pb2.ConfigureRequest)
        assert method == "Configure"
        self.reply(number, plugin_pb2.ConfigureResponse(events=events))

    def reply(self, number: int, message: Message) -> None:
        self.answer(number, message.SerializeToString())


@contextlib.asynccontextmanager
async def peer_of(connection: Connection) -> AsyncIterator[Peer]:
    """The other end of ``connection``, which gets a socket."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: connection, ours)
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    try:
        yield Peer(reader, writer)
    finally:
        connection.close()
        writer.close()


@contextlib.asynccontextmanager
async def peer_at(path: str) -> AsyncIterator[Peer]:
    """A connection to a daemon."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
