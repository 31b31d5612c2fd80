"""From the engine's hooks to the plugins: in the order of their indexes, one request at a time.

A plugin that refuses fails the request, and those that were told before are told of the undoing.
A plugin that does not answer is let go, and the request goes on without it.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from google.protobuf.message import Message

from trilby.cri.nri import limits
from trilby.cri.nri.creation import Creation, Updating, updates_of
from trilby.cri.nri.errors import HookFailed, NriError
from trilby.cri.nri.plugin import Event, Plugin
from trilby.cri.nri.proto import adjustment_pb2
from trilby.cri.nri.proto import plugin_pb2 as pb
from trilby.cri.nri.settings import Rules
from trilby.cri.nri.state import container_message, pod_message
from trilby.errors import TrilbyError
from trilby.pods.engine import Engine
from trilby.pods.engine_tasks import finish
from trilby.pods.events import EventType
from trilby.pods.hooks import Adjusted, HookedContainer, HookedSandbox, Update, Updated
from trilby.pods.model_common import Resources
from trilby.pods.model_status import ContainerState
from trilby.pods.state import STOPPED

__all__ = ["Relay"]

log = logging.getLogger(__name__)

Answer = TypeVar("Answer", bound=Message)

#: States that a plugin is told of when it joins; what has ended is nothing to it.
LIVING: Final = (ContainerState.CREATED, ContainerState.RUNNING)


class Told(enum.Enum):
    """What plugins know of a sandbox or container: that it lives, or that it has ended."""

    ALIVE = enum.auto()
    ENDED = enum.auto()


class Relay:
    """``pods.hooks.Hooks`` for the plugins that have joined."""

    def __init__(self, engine: Engine, rules: Rules | None = None) -> None:
        """``rules`` hold also while there is no plugin."""
        self.plugins: list[Plugin] = []
        self._rules = rules
        self._engine = engine
        self._point = engine.hook_point
        self._lock = asyncio.Lock()
        self._told: dict[str, Told] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._evictions: set[asyncio.Task[None]] = set()
        self._forget_if_alone()

    # Joining and leaving

    async def join(self, plugin: Plugin) -> None:
        """Tell a plugin what there is, and everything from now on. Raises RegistrationFailed."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch_ends(), name="nri-ends")
            await asyncio.sleep(0)  # it has subscribed before the state is read
        async with self._point.still(), self._lock:
            try:
                wanted = await self._synchronize(plugin)
                self.plugins.append(plugin)
                self.plugins.sort(key=lambda one: one.index)
                self._point.hooks = self
            finally:
                self._forget_if_alone()
        log.info("the NRI plugin %s has joined", plugin.name)
        failed = await self._engine.apply_updates(updates_of(wanted))
        if failed:
            log.warning("the NRI plugin %s: no update of %s", plugin.name, ", ".join(failed))

    async def _synchronize(self, plugin: Plugin) -> list[adjustment_pb2.ContainerUpdate]:
        pods, all_containers = await self._engine.hooked_state()
        containers = [
            one for one in all_containers if one.status is not None and one.status.state in LIVING
        ]
        for pod in pods:
            told = Told.ENDED if pod.live.phase == STOPPED else Told.ALIVE
            self._told.setdefault(pod.record.id, told)
        for one in containers:
            self._told.setdefault(one.record.id, Told.ALIVE)
        return await plugin.synchronize(
            [pod_message(pod) for pod in pods], [container_message(one) for one in containers]
        )

    def leave(self, plugin: Plugin) -> None:
        """It is gone."""
        if plugin in self.plugins:
            self.plugins.remove(plugin)
            log.info("the NRI plugin %s has left", plugin.name)
        self._forget_if_alone()

    def _forget_if_alone(self) -> None:
        if not self.plugins:
            self._point.hooks = self if self._rules is not None else None
            self._told.clear()

    async def close(self) -> None:
        """Nobody is told anything any more."""
        self.plugins.clear()
        self._rules = None
        self._forget_if_alone()
        tasks = [*self._evictions, *([self._watcher] if self._watcher else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_ends(self) -> None:
        """Containers end by themselves as well."""
        async for event in self._engine.subscribe():
            if event.type is EventType.STOPPED and event.container_id != event.sandbox_id:
                try:
                    await self._engine.tell_end(event.sandbox_id, event.container_id)
                except Exception:  # the next one has to be told all the same
                    log.exception("telling plugins of the end of %s", event.container_id)

    async def update_containers(
        self, plugin: Plugin, request: pb.UpdateContainersRequest
    ) -> pb.UpdateContainersResponse:
        """What a plugin wants without being asked."""
        log.info("the NRI plugin %s updates %d containers", plugin.name, len(request.update))
        failed = await self._engine.apply_updates(updates_of(request.update))
        self._evict(request.evict)
        return pb.UpdateContainersResponse(
            failed=[one for one in request.update if one.container_id in failed]
        )

    def _evict(self, wanted: Iterable[adjustment_pb2.ContainerEviction]) -> None:
        for one in wanted:
            task = asyncio.create_task(self._stop_container(one))
            self._evictions.add(task)
            task.add_done_callback(self._evictions.discard)

    async def _stop_container(self, wanted: adjustment_pb2.ContainerEviction) -> None:
        log.warning("container %s is evicted by NRI: %s", wanted.container_id, wanted.reason)
        try:
            await self._engine.stop_container(wanted.container_id, 0)
        except TrilbyError as error:
            log.error("evicting container %s: %s", wanted.container_id, error)

    # Sandboxes

    async def run_sandbox(self, pod: HookedSandbox) -> None:
        request = pb.RunPodSandboxRequest(pod=pod_message(pod))
        kind = pb.RunPodSandboxResponse
        told: list[Plugin] = []
        async with self._lock:
            try:
                for plugin in list(self.plugins):
                    told.append(plugin)  # before: a caller may give up while it is told
                    await plugin.tell(pb.RUN_POD_SANDBOX, request, kind)
            except HookFailed:
                await finish(self._undo_sandbox(told[:-1], request))
                raise
            except BaseException:
                await finish(self._undo_sandbox(told, request))
                raise
            self._told[pod.record.id] = Told.ALIVE

    async def _undo_sandbox(self, told: list[Plugin], run: pb.RunPodSandboxRequest) -> None:
        stop, gone = pb.StopPodSandboxRequest(pod=run.pod), pb.RemovePodSandboxRequest(pod=run.pod)
        await _tell_all(told, pb.STOP_POD_SANDBOX, stop, pb.StopPodSandboxResponse)
        await _tell_all(told, pb.REMOVE_POD_SANDBOX, gone, pb.RemovePodSandboxResponse)

    async def update_sandbox(
        self, pod: HookedSandbox, overhead: Resources | None, resources: Resources | None
    ) -> None:
        request = pb.UpdatePodSandboxRequest(
            pod=pod_message(pod),
            overhead_linux_resources=limits.from_engine(overhead),
            linux_resources=limits.from_engine(resources),
        )
        async with self._lock:
            for plugin in list(self.plugins):
                await plugin.tell(pb.UPDATE_POD_SANDBOX, request, pb.UpdatePodSandboxResponse)

    async def post_update_sandbox(self, pod: HookedSandbox) -> None:
        request = pb.PostUpdatePodSandboxRequest(pod=pod_message(pod))
        kind = pb.PostUpdatePodSandboxResponse
        async with self._lock:
            await _tell_all(self.plugins, pb.POST_UPDATE_POD_SANDBOX, request, kind)

    async def stop_sandbox(self, pod: HookedSandbox) -> None:
        request = pb.StopPodSandboxRequest(pod=pod_message(pod))
        async with self._lock:
            if self._told.get(pod.record.id) is not Told.ALIVE:
                return
            self._told[pod.record.id] = Told.ENDED
            await _tell_all(self.plugins, pb.STOP_POD_SANDBOX, request, pb.StopPodSandboxResponse)

    async def remove_sandbox(self, pod: HookedSandbox) -> None:
        request = pb.RemovePodSandboxRequest(pod=pod_message(pod))
        kind = pb.RemovePodSandboxResponse
        async with self._lock:
            if self._told.pop(pod.record.id, None) is not None:
                await _tell_all(self.plugins, pb.REMOVE_POD_SANDBOX, request, kind)

    # Containers

    async def create_container(self, pod: HookedSandbox, container: HookedContainer) -> Adjusted:
        creation = Creation(pod, container, self._engine.config.container_min_memory)
        async with self._lock:
            try:
                for plugin in list(self.plugins):
                    await creation.ask(plugin)
                await creation.validate(list(self.plugins), self._rules)
                result = creation.result()
            except BaseException:
                await finish(self._undo_container(creation.told, pod, container))
                raise
            self._told[container.record.id] = Told.ALIVE
        self._evict(creation.evictions)
        return result

    async def _undo_container(
        self, told: list[Plugin], pod: HookedSandbox, container: HookedContainer
    ) -> None:
        stop = _about(pb.StopContainerRequest(), pod, container)
        gone = _about(pb.RemoveContainerRequest(), pod, container)
        await _tell_all(told, pb.STOP_CONTAINER, stop, pb.StopContainerResponse)
        await _tell_all(told, pb.REMOVE_CONTAINER, gone, pb.RemoveContainerResponse)

    async def post_create(self, pod: HookedSandbox, container: HookedContainer) -> None:
        request = _about(pb.PostCreateContainerRequest(), pod, container)
        kind = pb.PostCreateContainerResponse
        async with self._lock:
            await _tell_all(self.plugins, pb.POST_CREATE_CONTAINER, request, kind)

    async def start(self, pod: HookedSandbox, container: HookedContainer) -> None:
        request = _about(pb.StartContainerRequest(), pod, container)
        async with self._lock:
            for plugin in list(self.plugins):
                await plugin.tell(pb.START_CONTAINER, request, pb.StartContainerResponse)

    async def post_start(self, pod: HookedSandbox, container: HookedContainer) -> None:
        request = _about(pb.PostStartContainerRequest(), pod, container)
        kind = pb.PostStartContainerResponse
        async with self._lock:
            await _tell_all(self.plugins, pb.POST_START_CONTAINER, request, kind)

    async def update(
        self, pod: HookedSandbox, container: HookedContainer, resources: Resources
    ) -> Updated:
        update = Updating(pod, container, resources)
        async with self._lock:
            for plugin in list(self.plugins):
                await update.ask(plugin)
        self._evict(update.evictions)
        return update.result()

    async def post_update(self, pod: HookedSandbox, container: HookedContainer) -> None:
        request = _about(pb.PostUpdateContainerRequest(), pod, container)
        kind = pb.PostUpdateContainerResponse
        async with self._lock:
            await _tell_all(self.plugins, pb.POST_UPDATE_CONTAINER, request, kind)

    async def stop(self, pod: HookedSandbox, container: HookedContainer) -> tuple[Update, ...]:
        async with self._lock:
            return await self._stop(pod, container)

    async def _stop(self, pod: HookedSandbox, container: HookedContainer) -> tuple[Update, ...]:
        if self._told.get(container.record.id) is not Told.ALIVE:
            return ()
        self._told[container.record.id] = Told.ENDED
        request = _about(pb.StopContainerRequest(), pod, container)
        kind = pb.StopContainerResponse
        answers = await _tell_all(self.plugins, pb.STOP_CONTAINER, request, kind)
        return updates_of(one for answer in answers for one in answer.update)

    async def remove(self, pod: HookedSandbox, container: HookedContainer) -> None:
        async with self._lock:
            if container.record.id not in self._told:
                return
            await self._stop(pod, container)
            del self._told[container.record.id]
            request = _about(pb.RemoveContainerRequest(), pod, container)
            kind = pb.RemoveContainerResponse
            await _tell_all(self.plugins, pb.REMOVE_CONTAINER, request, kind)


AboutContainer = TypeVar(
    "AboutContainer",
    pb.PostCreateContainerRequest,
    pb.StartContainerRequest,
    pb.PostStartContainerRequest,
    pb.PostUpdateContainerRequest,
    pb.StopContainerRequest,
    pb.RemoveContainerRequest,
)


def _about(
    request: AboutContainer, pod: HookedSandbox, container: HookedContainer
) -> AboutContainer:
    request.pod.CopyFrom(pod_message(pod))
    request.container.CopyFrom(container_message(container))
    return request


async def _tell_all(
    plugins: Sequence[Plugin], event: int, request: Event, kind: type[Answer]
) -> list[Answer]:
    """For what has happened and cannot be refused: every plugin is told, whatever comes between."""
    return await finish(_tell_each(plugins, event, request, kind))


async def _tell_each(
    plugins: Sequence[Plugin], event: int, request: Event, kind: type[Answer]
) -> list[Answer]:
    answers = []
    for plugin in list(plugins):
        try:
            answer = await plugin.tell(event, request, kind)
        except NriError as error:
            log.error("%s", error)
            continue
        if answer is not None:
            answers.append(answer)
    return answers
