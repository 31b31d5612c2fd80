"""GetContainerEvents: what happens to containers, with the pod's state at that time.

Events are kept for who comes later: one task reads the engine's, adds the statuses, and hands them
to every subscriber. While there is none, the last ones wait; the first subscriber gets them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from trilby.cri import translate_container, translate_sandbox
from trilby.cri.event_lines import EventLine, Lines
from trilby.cri.proto import runtime_pb2 as pb
from trilby.cri.proto import sandbox_pb2
from trilby.errors import TrilbyError
from trilby.pods.engine import Engine
from trilby.pods.events import ContainerEvent, EventType

log = logging.getLogger(__name__)

TYPES: Final = {
    EventType.CREATED: pb.CONTAINER_CREATED_EVENT,
    EventType.STARTED: pb.CONTAINER_STARTED_EVENT,
    EventType.STOPPED: pb.CONTAINER_STOPPED_EVENT,
    EventType.DELETED: pb.CONTAINER_DELETED_EVENT,
}
#: How many wait while nobody reads, and for how long; also how many a reader may be behind.
BACKLOG: Final = 1000
BACKLOG_SECONDS: Final = 300.0
#: How many are remembered as lines, for people.
HISTORY: Final = 500


class EventRpcs:
    """``dropped`` is told of every event that a slow subscriber loses."""

    def __init__(
        self,
        engine: Engine,
        dropped: Callable[[], None] = lambda: None,
        *,
        backlog: int = BACKLOG,
    ) -> None:
        self._engine = engine
        self._dropped = dropped
        self._limit = backlog
        self._queues: set[asyncio.Queue[pb.ContainerEventResponse]] = set()
        # As bytes: a message in memory takes several times the room.
        self._backlog: deque[tuple[float, bytes]] = deque(maxlen=backlog)
        self._lines = Lines()
        self._history: deque[EventLine] = deque(maxlen=HISTORY)
        # What each sandbox was last: an event of its removal comes when it has no status any more.
        self._known: dict[str, sandbox_pb2.PodSandboxStatus] = {}
        self._task: asyncio.Task[None] | None = None

    def history(self) -> list[EventLine]:
        """The last events, the oldest first, whoever has read them."""
        return list(self._history)

    def start(self) -> None:
        """Begin to read the engine's events."""
        events = self._engine.subscribe()
        for status in self._engine.list_sandboxes():
            self._known[status.id] = translate_sandbox.status_message(status)
        self._task = asyncio.create_task(self._read(events), name="container-events")

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def get_container_events(
        self, request: pb.GetEventsRequest
    ) -> AsyncIterator[pb.ContainerEventResponse]:
        """Until the caller goes away."""
        queue: asyncio.Queue[pb.ContainerEventResponse] = asyncio.Queue(self._limit)
        self._forget_old()
        waiting = [pb.ContainerEventResponse.FromString(event) for _, event in self._backlog]
        self._backlog.clear()
        self._queues.add(queue)
        try:
            for event in waiting:
                yield event
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    async def _read(self, events: AsyncIterator[ContainerEvent]) -> None:
        async for event in events:
            if event.type not in TYPES:
                continue  # the CRI tells of an out-of-memory kill by the status
            try:
                message = self._message(event)
                self._history.append(self._lines.line(message))
                self._hand_on(message)
            except TrilbyError as error:
                log.warning("event of %s: %s", event.container_id[:12], error)

    def _hand_on(self, message: pb.ContainerEventResponse) -> None:
        if not self._queues:
            self._forget_old()
            self._backlog.append((time.monotonic(), message.SerializeToString()))
            return
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
                self._dropped()
                log.warning("a reader of container events is slow; the oldest event is dropped")
            queue.put_nowait(message)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - BACKLOG_SECONDS
        while self._backlog and self._backlog[0][0] < oldest:
            self._backlog.popleft()

    def _message(self, event: ContainerEvent) -> pb.ContainerEventResponse:
        message = pb.ContainerEventResponse(
            container_id=event.container_id,
            container_event_type=TYPES[event.type],
            created_at=event.at,
        )
        try:
            status = self._engine.sandbox_status(event.sandbox_id)
            self._known[event.sandbox_id] = translate_sandbox.status_message(status)
            containers = self._engine.list_containers(event.sandbox_id)
            message.containers_statuses.extend(map(translate_container.status_message, containers))
        except TrilbyError:
            if event.sandbox_id in self._known:
                self._known[event.sandbox_id].state = sandbox_pb2.SANDBOX_NOTREADY
        # The kubelet ignores an event that does not say whose pod it is about.
        if event.sandbox_id in self._known:
            message.pod_sandbox_status.CopyFrom(self._known[event.sandbox_id])
        if event.type is EventType.DELETED and event.container_id == event.sandbox_id:
            self._known.pop(event.sandbox_id, None)
        return message
