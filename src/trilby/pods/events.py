"""What happens to containers, for subscribers: created, started, stopped, deleted.

Starts and stops of containers are seen whoever caused them, also another process on the same
roots: ends by conmon's exit files (inotify), nothing is polled.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterator

import msgspec

from trilby.pods.errors import PodsError
from trilby.pods.state import Layout
from trilby.pods.state_process import open_alive
from trilby.system import process
from trilby.system.events import Inotify, wait_pidfd

log = logging.getLogger(__name__)

QUEUE = 1000


class EventType(enum.StrEnum):
    """CRI ``ContainerEventType``; OOM is ours."""

    CREATED = "CREATED"
    STARTED = "STARTED"
    STOPPED = "STOPPED"
    DELETED = "DELETED"
    OOM = "OOM"


class ContainerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """``at`` is in nanoseconds. Of a sandbox both ids are the same."""

    type: EventType
    container_id: str
    sandbox_id: str
    at: int


class Broadcaster:
    """Hands events to every subscriber; one who does not read loses the oldest ones."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._queues: set[asyncio.Queue[ContainerEvent]] = set()
        self._waiting: dict[str, set[asyncio.Event]] = {}
        # Containers that are being started, and whether they have ended already.
        self._held: dict[str, bool] = {}
        self._watch: Inotify | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._reapers: set[asyncio.Task[None]] = set()

    def publish(self, kind: EventType, container_id: str, sandbox_id: str, at: int = 0) -> None:
        """Tell all subscribers."""
        event = ContainerEvent(
            type=kind, container_id=container_id, sandbox_id=sandbox_id, at=at or time.time_ns()
        )
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
                log.warning("a subscriber does not read its events; the oldest is dropped")
            queue.put_nowait(event)

    @contextlib.contextmanager
    def starting(self, container_id: str, sandbox_id: str) -> Iterator[None]:
        """Publishes STARTED at the end of the block; the container may have ended by then."""
        self._held[container_id] = False
        try:
            yield
            self.publish(EventType.STARTED, container_id, sandbox_id)
        finally:
            if self._held.pop(container_id):
                self._publish_exit(container_id)

    async def subscribe(self) -> AsyncGenerator[ContainerEvent, None]:
        """Events from the first step of the iteration on."""
        self.watch()
        queue: asyncio.Queue[ContainerEvent] = asyncio.Queue(QUEUE)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    def watch(self) -> None:
        """Begin to watch conmon's exit files; a second call does nothing."""
        if self._watcher is None:
            self._watch = Inotify([self._layout.exits])
            self._watcher = asyncio.create_task(self._follow(self._watch), name="exit-files")

    async def close(self) -> None:
        """Stop watching."""
        for task in self._reapers:
            task.cancel()
        watcher, self._watcher = self._watcher, None
        if self._watch is not None:
            self._watch.close()
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def wait_exit(
        self, container_id: str, monitor: tuple[int, int], timeout: float | None
    ) -> bool:
        """Wait for the exit file, or the end of the monitor that should write it.

        False when ``timeout`` seconds are over.
        """
        self.watch()
        seen = asyncio.Event()
        self._waiting.setdefault(container_id, set()).add(seen)
        monitor_fd = open_alive(*monitor)
        tasks: list[asyncio.Task[bool]] = [asyncio.create_task(_true(seen))]
        try:
            if os.path.exists(self._layout.exit_file(container_id)) or monitor_fd is None:
                return True
            tasks.append(asyncio.create_task(wait_pidfd(monitor_fd)))
            done, _ = await asyncio.wait(
                tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            return bool(done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if monitor_fd is not None:
                os.close(monitor_fd)
            waiting = self._waiting.get(container_id, set())
            waiting.discard(seen)
            if not waiting:
                self._waiting.pop(container_id, None)

    async def _follow(self, watch: Inotify) -> None:
        async for event in watch:
            if event.overflow:
                for waiting in self._waiting.values():
                    _set_all(waiting)
                continue
            # conmon writes "<id>.<random>" and renames it
            if len(event.name) == 64:
                _set_all(self._waiting.get(event.name, set()))
                task = asyncio.create_task(self._reap_monitor(event.name))
                self._reapers.add(task)
                task.add_done_callback(self._reapers.discard)
                self._publish_exit(event.name)

    async def _reap_monitor(self, container_id: str) -> None:
        """conmon detached itself and is our child, if it was started by this process."""
        live = self._layout.load_container_live(container_id)
        if live is None:
            return
        pidfd = open_alive(live.monitor_pid, live.monitor_start)
        if pidfd is not None:
            try:
                await wait_pidfd(pidfd)
            finally:
                os.close(pidfd)
        process.reap(live.monitor_pid)

    def _publish_exit(self, container_id: str) -> None:
        if container_id in self._held:
            self._held[container_id] = True
            return
        if not self._queues:
            return
        try:
            sandbox_id, _ = self._layout.find_container(container_id)
            at = os.stat(self._layout.exit_file(container_id)).st_mtime_ns
        except (PodsError, OSError) as error:
            log.debug("exit of %s: %s", container_id, error)
            return
        persistent = self._layout.container_dir(sandbox_id, container_id)
        if os.path.exists(f"{persistent}/oom"):
            self.publish(EventType.OOM, container_id, sandbox_id, at)
        self.publish(EventType.STOPPED, container_id, sandbox_id, at)


async def _true(event: asyncio.Event) -> bool:
    return await event.wait()


def _set_all(waiting: set[asyncio.Event]) -> None:
    for event in waiting:
        event.set()
