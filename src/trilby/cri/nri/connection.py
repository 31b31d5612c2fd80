"""A plugin's connection: our calls of it and its calls of us, by ttrpc on one multiplexed socket.

Whatever is not the protocol ends the connection. What a plugin can make us keep is bounded: one
message per direction, and CALLS calls that are being answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, cast

from google.protobuf.message import DecodeError

from trilby.cri.nri import mux, ttrpc
from trilby.cri.nri.errors import (
    CallRefused,
    Disconnected,
    MessageTooLong,
    NriError,
    PluginTimeout,
    ProtocolError,
)
from trilby.cri.nri.proto import ttrpc_pb2 as pb
from trilby.errors import TrilbyError

log = logging.getLogger(__name__)

PACKAGE: Final = "nri.pkg.api.v1alpha1"
#: Calls of one plugin that are answered at the same time.
CALLS: Final = 32

#: Answers a call of the plugin: the method and its request; CallRefused goes to the plugin.
Service = Callable[[str, bytes], Awaitable[bytes]]


class Connection(asyncio.Protocol):
    """``closed`` is set once there is no connection any more; nothing is answered then."""

    def __init__(self, service: Service) -> None:
        self.closed = asyncio.Event()
        self._service = service
        self._transport: asyncio.Transport | None = None
        self._streams = mux.Demultiplexer()
        self._readers = {
            mux.PLUGIN: ttrpc.MessageReader(),
            mux.RUNTIME: ttrpc.MessageReader(),
        }
        self._next = 1
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._last = 0
        self._answering: set[asyncio.Task[None]] = set()

    # Our calls

    async def call(self, method: str, payload: bytes, timeout: float) -> bytes:
        """Call the plugin; ``timeout`` in seconds.

        Raises CallRefused (it answered with an error), PluginTimeout, Disconnected,
        MessageTooLong (nothing was sent).
        """
        if self.closed.is_set():
            raise Disconnected(f"{method}: the connection is closed")
        request = pb.Request(
            service=f"{PACKAGE}.Plugin",
            method=method,
            payload=payload,
            timeout_nano=int(timeout * 1e9),
        )
        number = self._next
        data = ttrpc.encode(ttrpc.Message(number, ttrpc.REQUEST, 0, request.SerializeToString()))
        self._next += 2
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        self._write(mux.PLUGIN, data)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise PluginTimeout(f"{method}: no answer within {timeout:g} s") from None
        finally:
            del self._calls[number]

    def close(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()
        self._end()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for stream, piece in self._streams.feed(data):
                reader = self._readers.get(stream)
                for message in reader.feed(piece) if reader is not None else ():
                    if stream == mux.PLUGIN:
                        self._answered(message)
                    else:
                        self._called(message)
        except ProtocolError as error:
            log.warning("an NRI plugin's connection is ended: %s", error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        self.closed.set()
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(Disconnected("the plugin's connection was closed"))
        for task in self._answering:
            task.cancel()

    def _write(self, stream: int, message: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(mux.frames(stream, message))

    def _answered(self, message: ttrpc.Message) -> None:
        """An answer; one that nobody waits for any more is dropped."""
        answer = self._calls.get(message.call)
        if answer is None or answer.done():
            return
        if message.kind != ttrpc.RESPONSE:
            raise ProtocolError(
                f"call {message.call} is answered by a message of kind {message.kind}"
            )
        try:
            response = pb.Response.FromString(message.data)
        except DecodeError as error:
            raise ProtocolError(f"an answer that is no ttrpc response: {error}") from error
        if response.status.code != ttrpc.OK:
            answer.set_exception(CallRefused(response.status.code, response.status.message))
        else:
            answer.set_result(response.payload)

    # The plugin's calls

    def _called(self, message: ttrpc.Message) -> None:
        if message.kind != ttrpc.REQUEST:
            return  # data of streaming calls, which NRI has not
        if message.call % 2 == 0 or message.call <= self._last:
            raise ProtocolError(f"call {message.call} after {self._last}")
        self._last = message.call
        try:
            request = pb.Request.FromString(message.data)
        except DecodeError as error:
            raise ProtocolError(f"a call that is no ttrpc request: {error}") from error
        if len(self._answering) >= CALLS:
            self._respond(message.call, _refusal(ttrpc.RESOURCE_EXHAUSTED, "too many calls"))
            return
        task = asyncio.ensure_future(self._answer(message.call, request))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, number: int, request: pb.Request) -> None:
        seconds = request.timeout_nano / 1e9 if request.timeout_nano > 0 else None
        try:
            if request.service != f"{PACKAGE}.Runtime":
                raise CallRefused(ttrpc.UNIMPLEMENTED, f"service {request.service}")
            async with asyncio.timeout(seconds):
                payload = await self._service(request.method, request.payload)
            response = pb.Response(status=pb.Status(), payload=payload)
        except CallRefused as error:
            response = _refusal(error.code, error.message)
        except TimeoutError:
            response = _refusal(ttrpc.DEADLINE_EXCEEDED, "the call's time is over")
        except DecodeError as error:
            response = _refusal(ttrpc.INVALID_ARGUMENT, str(error))
        except TrilbyError as error:
            code = ttrpc.INVALID_ARGUMENT if isinstance(error, NriError) else ttrpc.UNKNOWN
            response = _refusal(code, str(error))
        except Exception as error:
            log.exception("answering %s of an NRI plugin", request.method)
            response = _refusal(ttrpc.INTERNAL, f"{type(error).__name__}: {error}")
        self._respond(number, response)

    def _respond(self, number: int, response: pb.Response) -> None:
        data = response.SerializeToString()
        try:
            message = ttrpc.encode(ttrpc.Message(number, ttrpc.RESPONSE, 0, data))
        except MessageTooLong as error:
            data = _refusal(ttrpc.RESOURCE_EXHAUSTED, str(error)).SerializeToString()
            message = ttrpc.encode(ttrpc.Message(number, ttrpc.RESPONSE, 0, data))
        self._write(mux.RUNTIME, message)


def _refusal(code: int, text: str) -> pb.Response:
    return pb.Response(status=pb.Status(code=code, message=text[:4096]))


__all__ = ["CALLS", "PACKAGE", "Connection", "Service"]
