"""The gRPC server: every RPC of our .proto services, bound to the method of the same name.

The messages' classes, and which RPCs stream, come from the services' descriptors. So an RPC that
nobody wrote a method for is seen at start, not when it is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Final, Protocol, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from trilby.cri.codes import code_of, text_of
from trilby.cri.proto import runtime_pb2
from trilby.cri.request import request_id
from trilby.errors import TrilbyError

log = logging.getLogger(__name__)

#: Called so often that a line for each would drown the rest.
QUIET: Final = re.compile(r"(List|Stream).*|.*(Status|Stats|Metrics|Info)|Version|ExecSync")

Context = grpc.aio.ServicerContext[Message, Message]
Unary = Callable[[Message], Awaitable[Message]]
Stream = Callable[[Message], AsyncIterator[Message]]
T = TypeVar("T")


class Observer(Protocol):
    """Who is told of every call that ended: metrics."""

    def observe_rpc(self, name: str, seconds: float, *, error: bool) -> None: ...


class Span(Protocol):
    """A call that is recorded."""

    def fail(self, code: grpc.StatusCode, message: str) -> None: ...


class Tracer(Protocol):
    """Who makes a span of every call: OpenTelemetry, when it is configured."""

    def rpc(
        self, name: str, metadata: Sequence[tuple[str, str | bytes]]
    ) -> contextlib.AbstractContextManager[Span | None]: ...


_numbers = itertools.count(1)


def snake_case(name: str) -> str:
    """``ListPodSandbox`` as ``list_pod_sandbox``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def generic_handlers(
    groups: Sequence[object], observer: Observer | None = None, tracer: Tracer | None = None
) -> list[grpc.GenericRpcHandler]:
    """One handler per service. Raises AttributeError for an RPC that no group has."""
    services = runtime_pb2.DESCRIPTOR.services_by_name.values()
    return [_service(service, groups, observer, tracer) for service in services]


def _service(
    service: ServiceDescriptor,
    groups: Sequence[object],
    observer: Observer | None,
    tracer: Tracer | None,
) -> grpc.GenericRpcHandler:
    handlers = {
        method.name: _method(method, _find(groups, method.name), observer, tracer)
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _find(groups: Sequence[object], name: str) -> object:
    attribute = snake_case(name)
    for group in groups:
        found = cast("object", getattr(group, attribute, None))
        if found is not None:
            return found
    raise AttributeError(f"no RPC group has a method {attribute} for {name}")


def _method(
    method: MethodDescriptor, function: object, observer: Observer | None, tracer: Tracer | None
) -> grpc.RpcMethodHandler[Message, Message]:
    request_class = message_factory.GetMessageClass(method.input_type)
    codec = {
        "request_deserializer": request_class.FromString,
        "response_serializer": _serialize,
    }
    around = _Around(method.name, observer, tracer)
    if method.server_streaming:
        stream = _stream(cast("Stream", function), around)
        return grpc.unary_stream_rpc_method_handler(stream, **codec)  # type: ignore[arg-type]
    unary = _unary(cast("Unary", function), around)
    return grpc.unary_unary_rpc_method_handler(unary, **codec)  # type: ignore[arg-type]


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


class _Around:
    """What every call has around it: a number, a line in the log, a count, an error's code."""

    def __init__(self, name: str, observer: Observer | None, tracer: Tracer | None) -> None:
        self._name = name
        self._observer = observer
        self._tracer = tracer
        self._level = logging.DEBUG if QUIET.fullmatch(name) else logging.INFO

    @contextlib.contextmanager
    def call(self, context: Context) -> Iterator[list[BaseException]]:
        """Keeps the exception in the list that it yields, so that the caller can abort with it."""
        number = next(_numbers)
        started = time.monotonic()
        errors: list[BaseException] = []
        token = request_id.set(number)
        try:
            with self._span(context) as span:
                try:
                    yield errors
                finally:
                    if span is not None and errors:
                        span.fail(_status(errors[0]), text_of(errors[0]))
        finally:
            seconds = time.monotonic() - started
            if self._observer is not None:
                self._observer.observe_rpc(self._name, seconds, error=bool(errors))
            self._say(seconds, errors)
            request_id.reset(token)

    def _span(self, context: Context) -> contextlib.AbstractContextManager[Span | None]:
        if self._tracer is None:
            return contextlib.nullcontext()
        return self._tracer.rpc(self._name, tuple(context.invocation_metadata() or ()))

    def _say(self, seconds: float, errors: list[BaseException]) -> None:
        if not errors:
            log.log(self._level, "%s took %.1f ms", self._name, seconds * 1e3)
            return
        error = errors[0]
        if isinstance(error, asyncio.CancelledError):
            log.info("%s: the caller went away after %.1f ms", self._name, seconds * 1e3)
            return
        # What somebody can act on has a text; the rest is a fault of ours, with its place.
        known = isinstance(error, TrilbyError | OSError)
        level = logging.WARNING if known else logging.ERROR
        log.log(
            self._level if known and _expected(error) else level,
            "%s failed after %.1f ms: %s: %s",
            self._name,
            seconds * 1e3,
            code_of(error).name,
            text_of(error),
            exc_info=None if known else error,
        )


def _status(error: BaseException) -> grpc.StatusCode:
    gone = isinstance(error, asyncio.CancelledError)
    return grpc.StatusCode.CANCELLED if gone else code_of(error)


def _expected(error: BaseException) -> bool:
    return code_of(error) in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DEADLINE_EXCEEDED)


def _unary(function: Unary, around: _Around) -> Callable[[Message, Context], Awaitable[Message]]:
    async def answer(request: Message, context: Context) -> Message:
        with around.call(context) as errors:
            try:
                return await function(request)
            except Exception as error:
                errors.append(error)
            except asyncio.CancelledError as error:
                errors.append(error)
                raise
        await _abort(context, errors[0])
        raise AssertionError("abort raises")

    return answer


def _stream(
    function: Stream, around: _Around
) -> Callable[[Message, Context], AsyncIterator[Message]]:
    async def answer(request: Message, context: Context) -> AsyncIterator[Message]:
        with around.call(context) as errors:
            try:
                async for message in function(request):
                    yield message
            except Exception as error:
                errors.append(error)
            except asyncio.CancelledError as error:
                errors.append(error)
                raise
        if errors:
            await _abort(context, errors[0])

    return answer


async def _abort(context: Context, error: BaseException) -> None:
    # A header field of HTTP/2 that is much longer is refused by clients.
    await context.abort(code_of(error), text_of(error)[:6000])


def make_server(
    path: str, handlers: Sequence[grpc.GenericRpcHandler], *, max_send: int, max_receive: int
) -> grpc.aio.Server:
    """A server that is not started yet, on a unix socket at ``path``; sizes are in bytes."""
    server = grpc.aio.server(
        options=(
            ("grpc.max_send_message_length", max_send),
            ("grpc.max_receive_message_length", max_receive),
            ("grpc.so_reuseport", 0),
            # The kubelet keeps its connection; what pings is no enemy on a unix socket.
            ("grpc.http2.min_ping_interval_without_data_ms", 1000),
            ("grpc.keepalive_permit_without_calls", 1),
        )
    )
    server.add_generic_rpc_handlers(tuple(handlers))
    server.add_insecure_port(f"unix:{path}")
    return server
