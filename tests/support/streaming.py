"""Clients of the streaming server: SPDY and WebSocket, by hand, on asyncio streams."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from trilby.cri.streaming import spdy_frames as spdy
from trilby.cri.streaming.websocket_frames import unmask

LIMIT = 1 << 20


class Answer(Exception):
    """An HTTP answer that is not 101."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"{status}: {body.decode(errors='replace')}")
        self.status = status
        self.headers = headers
        self.body = body


async def upgrade(
    url: str, lines: Sequence[str], *, method: str = "GET", tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, dict[str, str]]:
    """Send a request, and raise Answer unless the server switches protocols."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=LIMIT, ssl=tls)
    try:
        head = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *lines, "", ""]
        writer.write("\r\n".join(head).encode())
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
        }
        code = int(status.split()[1])
        if code != 101:
            raise Answer(code, headers, await reader.read())
    except BaseException:
        writer.close()
        raise
    return reader, writer, headers


class ClientStream:
    """A SPDY stream as its opener sees it."""

    def __init__(self, client: SpdyClient, number: int) -> None:
        self.client = client
        self.number = number
        self.replied = asyncio.Event()
        self.ended = asyncio.Event()
        self.was_reset = False
        self.data = bytearray()
        self.arrived = asyncio.Event()

    async def send(self, data: bytes, *, fin: bool = False) -> None:
        for at in range(0, len(data), 32768):
            piece = data[at : at + 32768]
            self.client.writer.write(spdy.data_head(self.number, len(piece)) + piece)
            await self.client.writer.drain()
        if fin:
            self.client.writer.write(spdy.data_head(self.number, 0, fin=True))

    def reset(self) -> None:
        self.client.writer.write(spdy.reset(self.number, spdy.CANCEL))

    async def all(self) -> bytes:
        await self.ended.wait()
        return bytes(self.data)

    async def until(self, text: bytes) -> bytes:
        while text not in self.data:
            if self.ended.is_set():
                raise AssertionError(f"{text!r} is not in {bytes(self.data)!r}")
            self.arrived.clear()
            await self.arrived.wait()
        return bytes(self.data)


class SpdyClient:
    """A SPDY session. ``async with SpdyClient(url, "v4.channel.k8s.io") as client:``"""

    def __init__(
        self, url: str, *protocols: str, method: str = "POST", tls: ssl.SSLContext | None = None
    ) -> None:
        self.url = url
        self.protocols = protocols
        self.method = method
        self.tls = tls
        self.protocol = ""
        self.streams: dict[int, ClientStream] = {}
        self.pongs: list[int] = []
        self.goaway: spdy.GoAway | None = None
        self.closed = asyncio.Event()
        #: Called with each piece instead of collecting it.
        self.sink: dict[int, object] = {}
        self.encoder = spdy.Encoder()
        self._next = 1

    async def __aenter__(self) -> Self:
        lines = ["Connection: Upgrade", "Upgrade: SPDY/3.1", "Content-Length: 0"]
        lines += [f"X-Stream-Protocol-Version: {name}" for name in self.protocols]
        if self.method == "GET":
            lines.remove("Content-Length: 0")
        self.reader, self.writer, headers = await upgrade(
            self.url, lines, method=self.method, tls=self.tls
        )
        self.protocol = headers.get("x-stream-protocol-version", "")
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass

    async def open(self, fin: bool = False, /, **headers: str) -> ClientStream:
        stream = ClientStream(self, self._next)
        self.streams[self._next] = stream
        self._next += 2
        self.writer.write(self.encoder.syn_stream(stream.number, headers, fin=fin))
        await stream.replied.wait()
        return stream

    async def command(self, *kinds: str) -> dict[str, ClientStream]:
        """The streams of an exec or attach."""
        return {kind: await self.open(streamtype=kind) for kind in kinds}

    async def _read(self) -> None:
        decoder = spdy.Decoder()
        try:
            while data := await self.reader.read(1 << 18):
                for frame in decoder.feed(data):
                    self._handle(frame)
        except ConnectionError:
            pass
        finally:
            self.closed.set()
            for stream in self.streams.values():
                stream.replied.set()
                stream.ended.set()
                stream.arrived.set()

    def _handle(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.Data(number, data, fin):
                stream = self.streams[number]
                assert stream.replied.is_set()
                sink = self.sink.get(number)
                if sink is None:
                    stream.data += data
                else:
                    sink(data)  # type: ignore[operator]
                stream.arrived.set()
                if fin:
                    stream.ended.set()
            case spdy.SynReply(number):
                self.streams[number].replied.set()
            case spdy.Reset(number):
                stream = self.streams[number]
                stream.was_reset = True
                for event in (stream.replied, stream.ended, stream.arrived):
                    event.set()
            case spdy.Ping(number):
                self.pongs.append(number)
            case spdy.GoAway():
                self.goaway = frame


def exit_code(status: bytes) -> int:
    """What an error stream of version 4 says; 0 for a success."""
    document = json.loads(status)
    if document["status"] == "Success":
        return 0
    assert document["reason"] == "NonZeroExitCode", document
    (cause,) = document["details"]["causes"]
    assert cause["reason"] == "ExitCode"
    return int(cause["message"])


class SocketClient:
    """A WebSocket session with channels."""

    def __init__(self, url: str, *protocols: str, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self.protocols = protocols
        self.tls = tls
        self.protocol = ""
        self.messages: list[tuple[int, bytes]] = []
        self.channels: dict[int, bytearray] = {}
        self.pongs: list[bytes] = []
        self.close_code = 0
        self.closed = asyncio.Event()
        self.arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["Connection: keep-alive, Upgrade", "Upgrade: websocket"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        if self.protocols:
            lines.append(f"Sec-WebSocket-Protocol: {', '.join(self.protocols)}")
        self.reader, self.writer, headers = await upgrade(self.url, lines, tls=self.tls)
        self.protocol = headers.get("sec-websocket-protocol", "")
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass

    @property
    def base64(self) -> bool:
        return "base64" in self.protocol

    async def send(self, channel: int, data: bytes) -> None:
        for at in range(0, len(data) or 1, 32768):
            piece = data[at : at + 32768]
            if self.base64:
                self.frame(0x1, b"%d" % channel + base64.b64encode(piece))
            else:
                self.frame(0x2, bytes((channel,)) + piece)
            await self.writer.drain()

    def frame(self, opcode: int, payload: bytes, *, final: bool = True) -> None:
        mask = os.urandom(4)
        first = opcode | (0x80 if final else 0)
        if len(payload) < 126:
            head = struct.pack("!BB", first, 0x80 | len(payload))
        elif len(payload) < 65536:
            head = struct.pack("!BBH", first, 0x80 | 126, len(payload))
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, len(payload))
        self.writer.write(head + mask + bytes(unmask(payload, mask)))

    async def until(self, channel: int, text: bytes) -> bytes:
        while text not in self.channels.get(channel, b""):
            if self.closed.is_set():
                raise AssertionError(f"{text!r} is not in {self.channels!r}")
            self.arrived.clear()
            await self.arrived.wait()
        return bytes(self.channels[channel])

    async def end(self) -> dict[int, bytes]:
        """Everything, when the server has closed the session."""
        await self.closed.wait()
        return {number: bytes(data) for number, data in self.channels.items()}

    async def _read(self) -> None:
        try:
            while True:
                first, second = await self.reader.readexactly(2)
                assert first & 0x80 and not second & 0x80
                length = second
                if length == 126:
                    (length,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif length == 127:
                    (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
                self._handle(first & 0x0F, await self.reader.readexactly(length))
                self.arrived.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            self.arrived.set()

    def _handle(self, opcode: int, payload: bytes) -> None:
        if opcode == 0x8:
            (self.close_code,) = struct.unpack("!H", payload)
            self.frame(0x8, payload)
        elif opcode == 0xA:
            self.pongs.append(payload)
        else:
            assert opcode == (0x1 if self.base64 else 0x2)
            if self.base64:
                number, data = int(payload[:1]), base64.b64decode(payload[1:])
            else:
                number, data = payload[0], payload[1:]
            self.messages.append((number, data))
            self.channels.setdefault(number, bytearray()).extend(data)
