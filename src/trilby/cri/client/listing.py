"""All sandboxes and containers of a daemon at one moment, with their statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from trilby.cri.client import statuses
from trilby.cri.client.connection import Connection
from trilby.cri.errors import NoSuchObject
from trilby.cri.proto import container_pb2, sandbox_pb2
from trilby.pods.model_status import ContainerStatus, SandboxStatus

T = TypeVar("T")
R = TypeVar("R")

#: How many calls wait for their answers at the same time.
AT_ONCE = 16


class Snapshot:
    """What ``trilby.pods.state_status.Inventory`` tells of the local roots."""

    def __init__(
        self, sandboxes: Iterable[SandboxStatus], containers: Iterable[ContainerStatus]
    ) -> None:
        self._sandboxes = sorted(sandboxes, key=lambda one: -one.created_at)
        self._containers = sorted(containers, key=lambda one: -one.created_at)

    def sandboxes(self) -> list[SandboxStatus]:
        """Newest first."""
        return self._sandboxes

    def containers(self, sandbox_id: str | None = None) -> list[ContainerStatus]:
        """Newest first."""
        return [one for one in self._containers if sandbox_id in (None, one.sandbox_id)]


async def take(connection: Connection) -> Snapshot:
    """Ask for all of it. What goes meanwhile is left out."""
    pods, listed = await asyncio.gather(
        connection.call(sandbox_pb2.ListPodSandboxRequest(), sandbox_pb2.ListPodSandboxResponse),
        connection.call(
            container_pb2.ListContainersRequest(), container_pb2.ListContainersResponse
        ),
    )

    async def sandbox(some: sandbox_pb2.PodSandbox) -> sandbox_pb2.PodSandboxStatusResponse:
        return await connection.call(
            sandbox_pb2.PodSandboxStatusRequest(pod_sandbox_id=some.id),
            sandbox_pb2.PodSandboxStatusResponse,
        )

    async def container(some: container_pb2.Container) -> ContainerStatus:
        answer = await connection.call(
            container_pb2.ContainerStatusRequest(container_id=some.id),
            container_pb2.ContainerStatusResponse,
        )
        return statuses.container_status(answer.status, some.pod_sandbox_id)

    answers = await _each(sandbox, pods.items)
    # Daemons with events send the containers along with their sandbox.
    containers = [
        statuses.container_status(one, answer.status.id)
        for answer in answers
        for one in answer.containers_statuses
    ]
    known = {one.id for one in containers}
    containers += await _each(container, [one for one in listed.containers if one.id not in known])
    return Snapshot([statuses.sandbox_status(answer.status) for answer in answers], containers)


async def _each(ask: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """The answers, some at a time, without those that are not there any more."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> list[R]:
        async with turns:
            try:
                return [await ask(item)]
            except NoSuchObject:
                return []

    return [answer for found in await asyncio.gather(*map(one, items)) for answer in found]
