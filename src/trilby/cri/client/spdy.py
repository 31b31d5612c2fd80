"""A daemon's streams by SPDY/3.1, as a kubelet connects to them: for CRI-O and containerd.

Their WebSockets speak version 4, which cannot end a command's input. Each channel is a stream of
its own here, and the end of one is its FIN.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from trilby.cri.client.channels import (
    CONNECT_TIMEOUT,
    ERROR,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    Outcome,
    Wanted,
    outcome,
    place,
    size,
)
from trilby.cri.streaming import spdy_frames as frames
from trilby.cri.streaming.errors import ProtocolViolation
from trilby.pods.errors import StreamFailed

PROTOCOL: Final = "v4.channel.k8s.io"
NAMES: Final = {
    ERROR: "error",
    STDIN: "stdin",
    STDOUT: "stdout",
    STDERR: "stderr",
    RESIZE: "resize",
}
#: A head of an answer, and what of a refusal is shown.
LONGEST_HEAD: Final = 1 << 16
LONGEST_REFUSAL: Final = 2000
PIECE: Final = 1 << 16


class SpdyChannels:
    """See ``trilby.cri.client.channels.Channels``."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wanted: Wanted
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._said = bytearray()
        self.outcome: Outcome | None = None
        kinds = [ERROR, *([STDIN] if wanted.stdin else []), STDOUT]
        kinds.append(RESIZE if wanted.tty else STDERR)
        self._numbers = {kind: 2 * index + 1 for index, kind in enumerate(kinds)}
        self._kinds = {number: kind for kind, number in self._numbers.items()}
        # What the daemon still may send on.
        self._open = {self._numbers[kind] for kind in kinds if kind in (ERROR, STDOUT, STDERR)}
        encoder = frames.Encoder()
        for kind, number in self._numbers.items():
            writer.write(encoder.syn_stream(number, {"streamtype": NAMES[kind]}))

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        decoder = frames.Decoder()
        while self._open:
            try:
                data = await self._reader.read(PIECE)
            except OSError:
                break
            if not data:
                break
            try:
                for frame in decoder.feed(data):
                    if (piece := self._handle(frame)) is not None:
                        yield piece
            except ProtocolViolation as error:
                raise StreamFailed(f"the daemon's stream is no SPDY: {error}") from error
        if self._said:
            self.outcome = outcome(bytes(self._said))

    def _handle(self, frame: frames.Frame) -> tuple[int, bytes] | None:
        """Output, if the frame is some."""
        match frame:
            case frames.Data(number, data, fin):
                if fin:
                    self._open.discard(number)
                kind = self._kinds.get(number)
                if kind == ERROR:
                    self._said += data
                elif kind in (STDOUT, STDERR) and data:
                    return kind, bytes(data)
            case frames.SynReply(number, _, fin) | frames.Headers(number, _, fin):
                if fin:
                    self._open.discard(number)
            case frames.Reset(number):
                self._open.discard(number)
            case frames.Ping(number) if number % 2 == 0:
                self._writer.write(frames.ping(number))
            case _:
                pass
        return None

    async def send(self, channel: int, data: bytes) -> None:
        number = self._numbers[channel]
        try:
            self._writer.write(frames.data_head(number, len(data)) + data)
            await self._writer.drain()
        except OSError as error:
            why = str(error) or "it has ended"
            raise StreamFailed(f"writing to the container: {why}") from error

    def resize(self, rows: int, columns: int) -> None:
        data = size(rows, columns)
        self._writer.write(frames.data_head(self._numbers[RESIZE], len(data)) + data)

    def end_input(self) -> None:
        self._writer.write(frames.data_head(self._numbers[STDIN], 0, fin=True))

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def connect(url: str, wanted: Wanted) -> SpdyChannels:
    """Raises StreamFailed."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            reader, writer = await _upgraded(url)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise StreamFailed(
            f"connecting to the daemon's streaming server at {place(url)}: "
            f"{str(error) or type(error).__name__}"
        ) from error
    return SpdyChannels(reader, writer, wanted)


async def _upgraded(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that speaks SPDY from here on."""
    parts = urlsplit(url)
    context = None
    if parts.scheme == "https":
        # The certificate is the daemon's own, for loopback; see websocket.connect().
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port, ssl=context, limit=LONGEST_HEAD
    )
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        lines = [
            f"POST {target} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: SPDY/3.1",
            f"X-Stream-Protocol-Version: {PROTOCOL}",
            "Content-Length: 0",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(status) < 2 or status[1] != b"101":
            body = await reader.read(LONGEST_REFUSAL)
            words = (b" ".join(status[1:]) + b": " + body).decode(errors="replace").strip()
            raise StreamFailed(f"the daemon's streaming server at {place(url)} refuses: {words}")
    except BaseException:
        writer.close()
        raise
    return reader, writer


__all__ = ["SpdyChannels", "connect"]
