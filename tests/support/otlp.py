"""An OpenTelemetry collector: a gRPC server that speaks OTLP with the project's own messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Collector:
    """``spans`` came so far; while ``refuse`` is set, calls end with that code."""

    def __init__(self) -> None:
        self.spans: list[pb.Span] = []
        self.resources: list[dict[str, str]] = []
        self.calls = 0
        self.refuse: grpc.StatusCode | None = None
        self._changed = asyncio.Condition()

    async def export(
        self,
        request: service.ExportTraceServiceRequest,
        context: grpc.aio.ServicerContext[
            service.ExportTraceServiceRequest, service.ExportTraceServiceResponse
        ],
    ) -> service.ExportTraceServiceResponse:
        async with self._changed:
            self.calls += 1
            self._changed.notify_all()
            if self.refuse is not None:
                await context.abort(self.refuse, "not now")
            for one in request.resource_spans:
                pairs = {each.key: each.value for each in one.resource.attributes}
                self.resources.append({key: pairs[key].string_value for key in pairs})
                for scope in one.scope_spans:
                    assert scope.scope.name == "trilby"
                    self.spans += scope.spans
        return service.ExportTraceServiceResponse()

    async def wait(self, count: int = 0, *, calls: int = 0) -> None:
        """Until there are so many spans and calls."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self.spans) >= count and self.calls >= calls)

    def named(self, name: str) -> pb.Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@asynccontextmanager
async def collector(port: int = 0) -> AsyncIterator[tuple[Collector, int]]:
    """A collector on a port of the loopback interface."""
    found = Collector()
    handler = grpc.unary_unary_rpc_method_handler(
        found.export,
        request_deserializer=service.ExportTraceServiceRequest.FromString,
        response_serializer=service.ExportTraceServiceResponse.SerializeToString,
    )
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers = grpc.method_handlers_generic_handler(SERVICE, {"Export": handler})
    server.add_generic_rpc_handlers((handlers,))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield found, bound
    finally:
        await server.stop(None)


def attributes(span: pb.Span) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        found[one.key] = one.value.int_value if kind == "int_value" else one.value.string_value
    return found
