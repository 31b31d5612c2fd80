"""The daemon's one socket: gRPC and HTTP/1.1 on it, told apart by their first bytes.

gRPC's own server takes no connections that somebody else accepted, so it listens on an inner
socket, and what begins as HTTP/2 is relayed there: some 0.1 ms a call, nothing is looked at. HTTP
is what cAdvisor and our own command use: few requests, whose library is imported at the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import Final, cast

from trilby.cri.errors import SocketBusy

#: What an HTTP/2 client sends first (RFC 9113, section 3.4) begins like no HTTP/1.1 method.
HTTP2: Final = b"PRI "
#: How much may wait for a slow reader before the other side is not read any more.
LIMIT: Final = 1 << 20

ProtocolFactory = Callable[[], Awaitable[Callable[[], asyncio.Protocol]]]


def claim(path: str) -> None:
    """Make room for a socket: the directory, and away with one whose daemon is gone.

    Raises SocketBusy when somebody answers there, or when it is no socket.
    """
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise SocketBusy(f"{path} is not a socket", hint="remove it, or listen elsewhere")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise
            os.unlink(path)
            return
    raise SocketBusy(f"another daemon answers on {path}", hint="end it, or listen elsewhere")


class Front:
    """Listens on ``path``; ``http`` makes aiohttp's protocols once they are needed."""

    def __init__(self, path: str, inner: str, mode: int, http: ProtocolFactory) -> None:
        self._path = path
        self._inner = inner
        self._mode = mode
        self._http = http
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def start(self) -> None:
        """Raises SocketBusy, OSError."""
        claim(self._path)
        listener = socket.socket(socket.AF_UNIX)
        # Under another name first: nobody connects before its mode is right.
        temporary = f"{self._path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        listener.bind(temporary)
        os.chmod(temporary, self._mode)
        listener.listen(128)
        os.rename(temporary, self._path)
        self._inode = os.stat(self._path).st_ino
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, sock=listener)

    async def close(self) -> None:
        """Take no more connections; the socket goes, if it is still ours."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)

    def _accept(self) -> asyncio.Protocol:
        return _Accepted(self._inner, self._http)


class _Accepted(asyncio.Protocol):
    """A connection until its first bytes tell what it is, and then one side of a relay."""

    def __init__(self, inner: str, http: ProtocolFactory) -> None:
        self._inner = inner
        self._http = http
        self._early = bytearray()
        self._chosen: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._early += data
        transport = self._transport
        if self._chosen is not None or transport is None:
            return
        if len(self._early) < len(HTTP2) and HTTP2.startswith(self._early):
            return
        transport.pause_reading()
        choose = self._relay if self._early.startswith(HTTP2) else self._speak_http
        self._chosen = asyncio.ensure_future(choose(transport))
        self._chosen.add_done_callback(lambda task: _end_failed(task, transport))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    async def _relay(self, transport: asyncio.Transport) -> None:
        outer, inner = _Half(), _Half()
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: inner, self._inner)
        outer.join(transport, inner)
        inner.join(inner.transport, outer)
        self._hand_over(transport, outer)

    async def _speak_http(self, transport: asyncio.Transport) -> None:
        protocol = (await self._http())()
        protocol.connection_made(transport)
        self._hand_over(transport, protocol)

    def _hand_over(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        """From here on the connection is the other protocol's."""
        if self._transport is None:
            protocol.connection_lost(None)
            return
        transport.set_protocol(protocol)
        protocol.data_received(bytes(self._early))
        transport.resume_reading()


def _end_failed(task: asyncio.Task[None], transport: asyncio.Transport) -> None:
    if task.cancelled() or task.exception() is not None:
        transport.abort()


class _Half(asyncio.Protocol):
    """One side of a relay: what comes is written to the other, no faster than that takes it."""

    transport: asyncio.Transport
    _other: _Half

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def join(self, transport: asyncio.Transport, other: _Half) -> None:
        self.transport = transport
        self._other = other
        transport.set_write_buffer_limits(high=LIMIT)

    def data_received(self, data: bytes) -> None:
        self._other.transport.write(data)

    def pause_writing(self) -> None:
        self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        self._other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        # Who says no more is not listened to any more either: gRPC's ends never close by halves.
        self._other.transport.close()
