"""The RPCs of statistics and of pod metrics: one reading at a time, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from trilby.cri import translate_stats
from trilby.cri.filters import chunks, id_matches, labels_match
from trilby.cri.proto import stats_pb2 as pb
from trilby.pods.engine import Engine
from trilby.pods.engine_tasks import in_thread
from trilby.pods.state import ContainerRecord, SandboxRecord

T = TypeVar("T")


class StatsRpcs:
    """What containers and pods use."""

    def __init__(self, engine: Engine, *, stats_collection_period: float = 0) -> None:
        """``stats_collection_period``: a reading is given again for so many seconds."""
        self._sampler = engine.sampler
        self._sampler.period = stats_collection_period
        # Readings would wait for each other in any case; this way they take one thread.
        self._turn = asyncio.Lock()

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
