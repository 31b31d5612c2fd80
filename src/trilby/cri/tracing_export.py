"""Sends spans to an OpenTelemetry collector: OTLP over gRPC, in batches, never in the way.

The SDK of OpenTelemetry is not used: Fedora has only its API, and its exporter wants a newer gRPC
than Fedora's. What is needed of the protocol is one message and one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from importlib.metadata import version
from typing import Final

import grpc
import grpc.aio

from trilby.cri.proto import otlp_pb2 as pb

log = logging.getLogger(__name__)

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

#: Spans that wait; more are dropped, the oldest first.
QUEUE: Final = 4096
BATCH: Final = 512
#: How long spans are gathered, how long a call may take, and the end of all, in seconds.
GATHER: Final = 1.0
DEADLINE: Final = 10.0
LAST_DEADLINE: Final = 3.0
#: Between attempts; doubled each time.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0

#: What the protocol says to try again.
_RETRY: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class Exporter:
    """``put`` is safe in threads and does not wait; ``close`` sends what is left."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._queue: deque[pb.Span] = deque(maxlen=QUEUE)
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._failing = False
        self._resource = _resource()
        self._scope = pb.InstrumentationScope(name="trilby", version=version("trilby"))

    def start(self) -> None:
        """Nothing is connected before there is a span."""
        self._task = asyncio.create_task(self._run(), name="trace-export")

    def put(self, span: pb.Span) -> None:
        self._queue.append(span)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    async def close(self) -> None:
        """For a collector that does not answer there is no waiting."""
        task, self._task = self._task, None
        if task is not None:
            self._ending.set()
            self._wake.set()
            if not self._failing:
                await asyncio.wait([task], timeout=LAST_DEADLINE)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._channel is not None:
            await self._channel.close()

    async def _run(self) -> None:
        ended = False
        while not ended:
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), GATHER)
            self._wake.clear()
            ended = self._ending.is_set()
            while self._queue:
                await self._deliver(self._batch(BATCH))

    def _batch(self, most: int) -> list[pb.Span]:
        return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    async def _deliver(self, spans: list[pb.Span]) -> None:
        """Until it is taken or refused; meanwhile the queue drops what it cannot hold."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._send(spans)
                break
            except grpc.aio.AioRpcError as error:
                self._failed(error)
                if error.code() not in _RETRY or self._ending.is_set():
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        if self._failing:
            log.info("traces go to %s again", self._endpoint)
        self._failing = False

    def _failed(self, error: grpc.aio.AioRpcError) -> None:
        if not self._failing:
            log.warning(
                "sending traces to %s: %s: %s", self._endpoint, error.code().name, error.details()
            )
        self._failing = True

    async def _send(self, spans: list[pb.Span]) -> None:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._endpoint)
        request = pb.ExportTraceServiceRequest(
            resource_spans=[
                pb.ResourceSpans(
                    resource=self._resource,
                    scope_spans=[pb.ScopeSpans(scope=self._scope, spans=spans)],
                )
            ]
        )
        call = self._channel.unary_unary(
            METHOD,
            request_serializer=pb.ExportTraceServiceRequest.SerializeToString,
            response_deserializer=pb.ExportTraceServiceResponse.FromString,
        )
        response: pb.ExportTraceServiceResponse = await call(request, timeout=DEADLINE)
        if rejected := response.partial_success.rejected_spans:
            log.warning(
                "the collector at %s refused %d spans: %s",
                self._endpoint,
                rejected,
                response.partial_success.error_message,
            )


def attribute(key: str, value: str | int) -> pb.KeyValue:
    """A span's or resource's attribute."""
    kind = (
        pb.AnyValue(int_value=value) if isinstance(value, int) else pb.AnyValue(string_value=value)
    )
    return pb.KeyValue(key=key, value=kind)


def _resource() -> pb.Resource:
    return pb.Resource(
        attributes=[
            attribute("service.name", "trilby"),
            attribute("service.version", version("trilby")),
            attribute("host.name", socket.gethostname()),
            attribute("process.pid", os.getpid()),
        ]
    )
