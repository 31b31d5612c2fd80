"""Port-forward sessions: pairs of streams over SPDY, pairs of channels over WebSocket."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from trilby.cri.streaming import http
from trilby.cri.streaming.calls import ForwardCall
from trilby.cri.streaming.channels import Channel, Channels
from trilby.cri.streaming.command import spdy_protocol
from trilby.cri.streaming.connection import Connection
from trilby.cri.streaming.errors import BadRequest, StreamClosed
from trilby.cri.streaming.port_forward import forward
from trilby.cri.streaming.spdy import SpdySession, SpdyStream
from trilby.cri.streaming.streams import Carrier, Incoming, Outgoing, end_tasks
from trilby.cri.streaming.tunnel import Tunnel
from trilby.cri.streaming.websocket import WebSocket, negotiate
from trilby.errors import TrilbyError
from trilby.pods.engine import Engine

PROTOCOL: Final = "portforward.k8s.io"
TUNNEL: Final = f"SPDY/3.1+{PROTOCOL}"
WEBSOCKET_PROTOCOLS: Final = (TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")

_log = logging.getLogger(__name__)


async def serve_forward(
    engine: Engine, connection: Connection, request: http.Request, call: ForwardCall, wait: float
) -> None:
    """Everything after the token. Raises BadRequest while an answer can still be given."""
    if not request.upgrades_to("websocket"):
        protocol = spdy_protocol(request, (PROTOCOL,))
        forwarder = _Forwarder(engine, call, connection, connection, wait)
        connection.on_blocked = forwarder.session.show_life
        connection.write(http.switching("SPDY/3.1", X_Stream_Protocol_Version=protocol))
        connection.upgrade(forwarder.session.feed)
        await forwarder.run()
        return
    protocol, answer = negotiate(request, WEBSOCKET_PROTOCOLS)
    if protocol == TUNNEL:
        tunnel = Tunnel(connection)
        tunnel.socket = WebSocket(connection, tunnel, connection.leave)
        forwarder = _Forwarder(engine, call, tunnel, connection, wait)
        tunnel.feed = forwarder.session.feed
        connection.on_blocked = tunnel.socket.show_life
        connection.write(answer)
        connection.upgrade(tunnel.socket.feed)
        await forwarder.run()
        return
    if not call.ports:
        raise BadRequest("port-forward over WebSocket needs ports in the request")
    connection.write(answer)
    await _serve_channels(engine, connection, call, base64="base64" in protocol)


async def _serve_channels(
    engine: Engine, connection: Connection, call: ForwardCall, *, base64: bool
) -> None:
    """Two channels for each port: data, and errors, which both begin with the port's number."""
    incoming = {2 * at: Incoming(connection.hold) for at in range(len(call.ports))}
    channels = Channels(incoming, base64=base64, closing=False)
    channels.socket = WebSocket(connection, channels, connection.leave)
    connection.on_blocked = channels.socket.show_life
    pairs: list[tuple[int, Incoming, Channel, Channel]] = []
    for at, port in enumerate(call.ports):
        data, error = channels.channel(2 * at), channels.channel(2 * at + 1)
        for channel in (data, error):
            channel.send(port.to_bytes(2, "little"))
        pairs.append((port, incoming[2 * at], data, error))
    connection.upgrade(channels.socket.feed)
    async with asyncio.TaskGroup() as group:
        for port, stream, data, error in pairs:
            group.create_task(_forward(engine, call, port, stream, data, error))
    channels.socket.close()


async def _forward(
    engine: Engine,
    call: ForwardCall,
    port: int,
    incoming: Incoming,
    outgoing: Outgoing,
    error: Outgoing,
) -> bool:
    """One connection to its end; False when it failed, which the error stream then says."""
    try:
        await forward(engine, call.sandbox_id, port, incoming, outgoing)
        failure = ""
    except Exception as problem:
        if not isinstance(problem, TrilbyError | OSError):
            _log.exception("port-forward failed")
        failure = f"error forwarding port {port} to pod {call.sandbox_id}: {problem}"
    if failure:
        incoming.discard()
        try:
            await error.write(failure.encode())
        except StreamClosed:
            pass
    error.finish()
    return not failure


class _Forwarder:
    """The pairs of a SPDY session: ``data`` and ``error``, with the same request id."""

    def __init__(
        self,
        engine: Engine,
        call: ForwardCall,
        carrier: Carrier,
        connection: Connection,
        wait: float,
    ) -> None:
        self.session = SpdySession(
            carrier, accept=self._accept, on_stream=self._add, on_end=connection.leave
        )
        self._engine = engine
        self._call = call
        self._wait = wait
        # Pairs of which one stream is there, and the timers that end the waiting.
        self._half: dict[str, dict[str, SpdyStream]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the client has gone, which cancels this."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for timer in self._timers.values():
                timer.cancel()
            await end_tasks(*self._tasks)
            self.session.close()

    def _accept(self, stream: SpdyStream) -> str:
        port = stream.headers.get("port", "")
        if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 1 << 16:
            return f"port {port!r} is none"
        kind = stream.headers.get("streamtype", "")
        if kind not in ("data", "error"):
            return f"stream type {kind!r} is unknown"
        if kind in self._half.get(_request_id(stream), {}):
            return f"request {_request_id(stream)} has a stream {kind} already"
        return ""

    def _add(self, stream: SpdyStream) -> None:
        request_id = _request_id(stream)
        pair = self._half.setdefault(request_id, {})
        pair[stream.headers["streamtype"]] = stream
        if len(pair) == 2:
            del self._half[request_id]
            self._timers.pop(request_id).cancel()
            task = asyncio.create_task(self._serve(pair["data"], pair["error"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            loop = asyncio.get_running_loop()
            self._timers[request_id] = loop.call_later(self._wait, self._give_up, request_id)

    def _give_up(self, request_id: str) -> None:
        del self._timers[request_id]
        _log.warning("port-forward: request %s has no second stream", request_id)
        for stream in self._half.pop(request_id).values():
            stream.reset()

    async def _serve(self, data: SpdyStream, error: SpdyStream) -> None:
        port = int(data.headers["port"])
        task = asyncio.current_task()
        assert task is not None
        data.on_reset = task.cancel
        try:
            if await _forward(self._engine, self._call, port, data.incoming, data, error):
                data.finish()
            else:
                data.reset()
        finally:
            data.on_reset = None
            # Whatever the client does not say of its own, these are over.
            error.finish()
            error.incoming.discard()
            data.incoming.discard()


def _request_id(stream: SpdyStream) -> str:
    """Old clients name none; then the data stream is the next after the error stream."""
    named = stream.headers.get("requestid", "")
    if named:
        return named
    return str(stream.stream_id - (2 if stream.headers["streamtype"] == "data" else 0))


__all__ = ["PROTOCOL", "TUNNEL", "WEBSOCKET_PROTOCOLS", "serve_forward"]
