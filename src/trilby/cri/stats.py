"""The RPCs of statistics and of pod metrics: one reading at a time, in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from trilby.cri import pod_metrics_table, translate_stats
from trilby.cri.config import DaemonConfig
from trilby.cri.filters import chunks, id_matches, labels_match
from trilby.cri.proto import stats_pb2 as pb
from trilby.pods.engine import Engine
from trilby.pods.engine_tasks import in_thread
from trilby.pods.state import ContainerRecord, SandboxRecord

T = TypeVar("T")

#: Pods in one message of streamed metrics.
METRICS_CHUNK: Final = 100


class StatsRpcs:
    """What containers and pods use."""

    def __init__(self, engine: Engine, config: DaemonConfig) -> None:
        self._sampler = engine.sampler
        # Readings would wait for each other in any case; this way they take one thread.
        self._turn = asyncio.Lock()
        self._kept: tuple[float, list[pb.PodSandboxMetrics]] | None = None
        self.replace(config)

    def replace(self, config: DaemonConfig) -> None:
        """Settings from now on."""
        self._period = float(config.stats_collection_period)
        self._sampler.period = self._period
        self._groups = pod_metrics_table.chosen(config.included_pod_metrics)
        self._kept = None

    async def container_stats(self, request: pb.ContainerStatsRequest) -> pb.ContainerStatsResponse:
        """Raises ContainerNotFound."""
        stats = await self._read(lambda: self._sampler.container(request.container_id))
        return pb.ContainerStatsResponse(stats=translate_stats.container_message(stats))

    async def list_container_stats(
        self, request: pb.ListContainerStatsRequest
    ) -> pb.ListContainerStatsResponse:
        """Of created and running containers."""
        return pb.ListContainerStatsResponse(stats=await self._containers(request.filter))

    async def stream_container_stats(
        self, request: pb.StreamContainerStatsRequest
    ) -> AsyncIterator[pb.StreamContainerStatsResponse]:
        for chunk in chunks(await self._containers(request.filter)):
            yield pb.StreamContainerStatsResponse(container_stats=chunk)

    async def pod_sandbox_stats(
        self, request: pb.PodSandboxStatsRequest
    ) -> pb.PodSandboxStatsResponse:
        """Raises SandboxNotFound."""
        stats = await self._read(lambda: self._sampler.sandbox(request.pod_sandbox_id))
        return pb.PodSandboxStatsResponse(stats=translate_stats.sandbox_message(stats))

    async def list_pod_sandbox_stats(
        self, request: pb.ListPodSandboxStatsRequest
    ) -> pb.ListPodSandboxStatsResponse:
        """Of ready sandboxes."""
        return pb.ListPodSandboxStatsResponse(stats=await self._sandboxes(request.filter))

    async def stream_pod_sandbox_stats(
        self, request: pb.StreamPodSandboxStatsRequest
    ) -> AsyncIterator[pb.StreamPodSandboxStatsResponse]:
        for chunk in chunks(await self._sandboxes(request.filter)):
            yield pb.StreamPodSandboxStatsResponse(pod_sandbox_stats=chunk)

    async def list_metric_descriptors(
        self, request: pb.ListMetricDescriptorsRequest
    ) -> pb.ListMetricDescriptorsResponse:
        """Of the groups that the configuration includes."""
        descriptors = pod_metrics_table.descriptors(self._groups)
        return pb.ListMetricDescriptorsResponse(descriptors=descriptors)

    async def list_pod_sandbox_metrics(
        self, request: pb.ListPodSandboxMetricsRequest
    ) -> pb.ListPodSandboxMetricsResponse:
        """Of ready sandboxes, and of their created and running containers."""
        return pb.ListPodSandboxMetricsResponse(pod_metrics=await self._metrics())

    async def stream_pod_sandbox_metrics(
        self, request: pb.StreamPodSandboxMetricsRequest
    ) -> AsyncIterator[pb.StreamPodSandboxMetricsResponse]:
        # A pod has some hundred metrics, where other lists have one item.
        for chunk in chunks(await self._metrics(), METRICS_CHUNK):
            yield pb.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=chunk)

    async def _metrics(self) -> list[pb.PodSandboxMetrics]:
        kept = self._kept
        if kept is not None and time.monotonic() - kept[0] < self._period:
            return kept[1]
        found = await self._read(self._read_metrics)
        self._kept = (time.monotonic(), found) if self._period else None
        return found

    def _read_metrics(self) -> list[pb.PodSandboxMetrics]:
        from trilby.cri.pod_metrics import needs, pod_message
        from trilby.pods.stats_details import read_pods

        groups = self._groups
        pods = read_pods(self._sampler, needs(groups))
        now = time.time_ns()
        # A time says that a value was kept; one that is read for the caller has none.
        timestamp = now if self._period else 0
        return [pod_message(pod, groups, now=now, timestamp=timestamp) for pod in pods]

    async def _containers(self, wanted: pb.ContainerStatsFilter) -> list[pb.ContainerStats]:
        def matches(record: ContainerRecord) -> bool:
            return (
                id_matches(record.id, wanted.id)
                and id_matches(record.sandbox_id, wanted.pod_sandbox_id)
                and labels_match(record.config.labels, wanted.label_selector)
            )

        def read() -> list[pb.ContainerStats]:
            return [
                translate_stats.container_message(stats)
                for stats in self._sampler.containers(matches)
            ]

        return await self._read(read)

    async def _sandboxes(self, wanted: pb.PodSandboxStatsFilter) -> list[pb.PodSandboxStats]:
        def matches(record: SandboxRecord) -> bool:
            return id_matches(record.id, wanted.id) and labels_match(
                record.config.labels, wanted.label_selector
            )

        def read() -> list[pb.PodSandboxStats]:
            return [
                translate_stats.sandbox_message(stats) for stats in self._sampler.sandboxes(matches)
            ]

        return await self._read(read)

    async def _read(self, function: Callable[[], T]) -> T:
        async with self._turn:
            return await in_thread(function)
