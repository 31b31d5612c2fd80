"""Spans of the RPCs, and of the stages of what they do, for OpenTelemetry.

A call's span belongs to the trace that its caller is in. Stages are the parts that pods/trace
tells of: an operation's span is a child of the call's, and its parts are the operation's children.
Imported only when tracing is on.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Final

import grpc

from trilby.cri.config import DaemonConfig
from trilby.cri.proto import otlp_pb2 as pb
from trilby.cri.proto import runtime_pb2
from trilby.cri.tracing_context import SpanContext, caller, new_trace, within
from trilby.cri.tracing_export import Exporter, attribute
from trilby.pods.engine import Engine
from trilby.pods.trace import Stage

#: The full name of the service that has an RPC.
_SERVICES: Final = {
    method.name: service.full_name
    for service in runtime_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

#: The call that is being served, if it is recorded.
_current: ContextVar[SpanContext | None] = ContextVar("span", default=None)


class RpcSpan:
    """A call under way."""

    def __init__(self, span: pb.Span) -> None:
        self._span = span
        self._code = grpc.StatusCode.OK

    def fail(self, code: grpc.StatusCode, message: str) -> None:
        """Say how the call failed."""
        self._code = code
        self._span.status.code = pb.STATUS_CODE_ERROR
        self._span.status.message = message

    @property
    def code(self) -> int:
        """gRPC's number of how it ended."""
        number: int = self._code.value[0]
        return number


class Tracer:
    """Makes spans. ``per_million`` of the calls whose caller is in no trace are recorded."""

    def __init__(self, exporter: Exporter, per_million: int) -> None:
        self.per_million = per_million
        self._exporter = exporter

    @contextlib.contextmanager
    def rpc(
        self, name: str, metadata: Sequence[tuple[str, str | bytes]]
    ) -> Iterator[RpcSpan | None]:
        """Record the time that the block takes; None for a call that is not recorded."""
        parent = caller(metadata)
        context = parent.child() if parent is not None else new_trace()
        if not (parent.sampled if parent else within(context.trace_id, self.per_million)):
            yield None
            return
        service = _SERVICES.get(name, "")
        message = pb.Span(
            trace_id=context.trace_id,
            span_id=context.span_id,
            trace_state=context.state,
            parent_span_id=parent.span_id if parent else b"",
            flags=context.flags,
            name=f"{service}/{name}",
            kind=pb.SPAN_KIND_SERVER,
            start_time_unix_nano=time.time_ns(),
        )
        span = RpcSpan(message)
        token = _current.set(context)
        try:
            yield span
        finally:
            _current.reset(token)
            message.end_time_unix_nano = time.time_ns()
            message.attributes.extend(
                (
                    attribute("rpc.system", "grpc"),
                    attribute("rpc.service", service),
                    attribute("rpc.method", name),
                    attribute("rpc.grpc.status_code", span.code),
                )
            )
            self._exporter.put(message)

    def stage(self, stage: Stage) -> None:
        """A stage has ended; it is recorded if the call that it belongs to is."""
        context = _current.get()
        if context is None:
            return
        whole = stage.name == stage.operation
        operation = _operation_id(context, stage)
        span = pb.Span(
            trace_id=context.trace_id,
            span_id=operation if whole else context.child().span_id,
            trace_state=context.state,
            parent_span_id=context.span_id if whole else operation,
            flags=context.flags,
            name=stage.operation if whole else f"{stage.operation}: {stage.name}",
            kind=pb.SPAN_KIND_INTERNAL,
            start_time_unix_nano=stage.begin,
            end_time_unix_nano=stage.end,
            attributes=[attribute("trilby.sandbox.id", stage.sandbox_id)],
        )
        if stage.subject:
            span.attributes.append(attribute("k8s.container.name", stage.subject))
        if stage.error:
            span.status.code = pb.STATUS_CODE_ERROR
            span.status.message = stage.error
        self._exporter.put(span)

    async def close(self) -> None:
        """Send what is left."""
        await self._exporter.close()


def _operation_id(context: SpanContext, stage: Stage) -> bytes:
    """The id of an operation's span. Its parts end before it does, and have to know it."""
    name = "\0".join((stage.sandbox_id, stage.operation, stage.subject))
    return hashlib.blake2b(context.span_id + name.encode(), digest_size=8).digest()


def start_tracing(config: DaemonConfig, engine: Engine) -> Tracer:
    """A tracer that gets the engine's stages. In a running event loop; ``close`` ends it."""
    exporter = Exporter(config.tracing_endpoint)
    exporter.start()
    tracer = Tracer(exporter, config.tracing_sampling_rate_per_million)
    engine.on_stage(tracer.stage)
    return tracer
