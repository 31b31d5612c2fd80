"""Exec and attach: the streams of a command, opened by the client in one of two ways."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from trilby.cri.streaming import http
from trilby.cri.streaming.attach import serve_attach
from trilby.cri.streaming.calls import AttachCall, ExecCall
from trilby.cri.streaming.channels import Channels
from trilby.cri.streaming.connection import Connection
from trilby.cri.streaming.errors import BadRequest, StreamClosed
from trilby.cri.streaming.exec import serve_exec
from trilby.cri.streaming.spdy import SpdySession, SpdyStream
from trilby.cri.streaming.status import internal_error
from trilby.cri.streaming.streams import CommandStreams, Incoming
from trilby.cri.streaming.websocket import WebSocket, negotiate
from trilby.pods.engine import Engine

#: Over SPDY. From version 3 on there is a resize stream, from version 4 on a Status at the end.
SPDY_PROTOCOLS: Final = (
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
)
#: Over WebSocket.
WEBSOCKET_PROTOCOLS: Final = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)
_KINDS: Final = ("stdin", "stdout", "stderr", "error", "resize")

_log = logging.getLogger(__name__)

CommandCall = ExecCall | AttachCall


class _Opened(msgspec.Struct, frozen=True):
    """Streams, and how to end the session that they belong to."""

    streams: CommandStreams
    close: Callable[[], None]


async def serve_command(
    engine: Engine, connection: Connection, request: http.Request, call: CommandCall, wait: float
) -> None:
    """Everything after the token. Raises BadRequest while an answer can still be given."""
    if request.upgrades_to("websocket"):
        opened = _open_websocket(connection, request, call)
    else:
        opened = await _open_spdy(connection, request, call, wait)
    streams = opened.streams
    try:
        if isinstance(call, ExecCall):
            status = await serve_exec(engine, call, streams)
        else:
            status = await serve_attach(engine, call, streams)
    except Exception as error:
        _log.exception("exec or attach failed")
        status = internal_error(f"{type(error).__name__}: {error}")
    try:
        await streams.error.write(status.encode(structured=streams.structured))
    except StreamClosed:
        pass
    for output in (streams.stdout, streams.stderr, streams.error):
        if output is not None:
            output.finish()
    opened.close()


def spdy_protocol(request: http.Request, supported: tuple[str, ...]) -> str:
    """The first of the client's protocols that we know. Raises BadRequest."""
    if not request.upgrades_to("SPDY/3.1"):
        raise BadRequest("an upgrade to SPDY/3.1 or websocket is needed")
    wanted = request.items("X-Stream-Protocol-Version")
    if not wanted:
        raise BadRequest("X-Stream-Protocol-Version is missing")
    for protocol in wanted:
        if protocol in supported:
            return protocol
    known = [f"X-Accepted-Stream-Protocol-Versions: {protocol}" for protocol in supported]
    raise BadRequest(
        f"of {', '.join(wanted)} nothing is known here", status=403, headers="\r\n".join(known)
    )


class _Opening:
    """Collects the streams that a SPDY client opens, until those are there that must be."""

    def __init__(self, needed: set[str]) -> None:
        self.found: dict[str, SpdyStream] = {}
        self.complete = asyncio.Event()
        self._needed = needed

    def accept(self, stream: SpdyStream) -> str:
        kind = stream.headers.get("streamtype", "")
        if kind not in _KINDS:
            return f"stream type {kind!r} is unknown"
        return f"there is a {kind} stream already" if kind in self.found else ""

    def add(self, stream: SpdyStream) -> None:
        kind = stream.headers["streamtype"]
        self.found[kind] = stream
        if kind not in self._needed:
            # Its other end may wait for it to end.
            stream.incoming.discard()
            stream.finish()
        elif self._needed <= self.found.keys():
            self.complete.set()


async def _open_spdy(
    connection: Connection, request: http.Request, call: CommandCall, wait: float
) -> _Opened:
    protocol = spdy_protocol(request, SPDY_PROTOCOLS)
    needed = {"error"} | {kind for kind in _KINDS[:3] if getattr(call, kind)}
    if call.tty and protocol in SPDY_PROTOCOLS[:2]:
        needed.add("resize")
    opening = _Opening(needed)
    session = SpdySession(
        connection, accept=opening.accept, on_stream=opening.add, on_end=connection.leave
    )
    connection.on_blocked = session.show_life
    connection.write(http.switching("SPDY/3.1", X_Stream_Protocol_Version=protocol))
    connection.upgrade(session.feed)
    try:
        async with asyncio.timeout(wait):
            await opening.complete.wait()
    except TimeoutError:
        session.close()
        missing = ", ".join(sorted(needed - opening.found.keys()))
        raise StreamClosed(f"the client did not open the streams {missing} in time") from None
    found = {kind: stream for kind, stream in opening.found.items() if kind in needed}
    stdin, resize = found.get("stdin"), found.get("resize")
    streams = CommandStreams(
        stdin=stdin.incoming if stdin else None,
        stdout=found.get("stdout"),
        stderr=found.get("stderr"),
        error=found["error"],
        resize=resize.incoming if resize else None,
        structured=protocol == SPDY_PROTOCOLS[0],
    )
    return _Opened(streams, session.close)


def _open_websocket(connection: Connection, request: http.Request, call: CommandCall) -> _Opened:
    protocol, answer = negotiate(request, WEBSOCKET_PROTOCOLS)
    incoming = {}
    if call.stdin:
        incoming[_STDIN] = Incoming(connection.hold)
    if call.tty:
        incoming[_RESIZE] = Incoming(connection.hold)
    channels = Channels(
        incoming, base64="base64" in protocol, closing=protocol == WEBSOCKET_PROTOCOLS[0]
    )
    channels.socket = WebSocket(connection, channels, connection.leave)
    connection.write(answer)
    connection.on_blocked = channels.socket.show_life
    stdout, stderr = channels.channel(_STDOUT), channels.channel(_STDERR)
    error = channels.channel(_ERROR)
    # An empty message tells the client that the session has begun.
    (stdout if call.stdout else stderr if call.stderr else error).send(b"")
    connection.upgrade(channels.socket.feed)
    streams = CommandStreams(
        stdin=incoming.get(_STDIN),
        stdout=stdout if call.stdout else None,
        stderr=stderr if call.stderr else None,
        error=error,
        resize=incoming.get(_RESIZE),
        structured=protocol.startswith(("v4.", "v5.")),
    )
    return _Opened(streams, channels.socket.close)


__all__ = ["SPDY_PROTOCOLS", "WEBSOCKET_PROTOCOLS", "serve_command", "spdy_protocol"]
