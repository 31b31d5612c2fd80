"""The inventory of a daemon: statuses are kept, and read again when something about them changed.

The kernel tells what changed, whoever changed it: inotify(7) of the state files' directories, and
pidfds of the processes. Everything up to the moment of a call is in the kernel's queues by then, so
a list says the same as one that reads all files, and costs next to nothing.
"""

from __future__ import annotations

import os
import resource
import select
import threading
from typing import Final

from trilby.pods.errors import PodsError
from trilby.pods.model_status import ContainerState, ContainerStatus, SandboxState, SandboxStatus
from trilby.pods.state import CREATING, Layout, is_id
from trilby.pods.state_process import open_alive
from trilby.pods.state_status import Inventory, container_status, sandbox_status
from trilby.system.events import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    FileEvent,
    Inotify,
)

#: State files are replaced by renaming; directories come and go; conmon writes its files.
_MASK: Final = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE

#: Whose directory or process it is: a sandbox, and a container unless it is the sandbox' own.
_Owner = tuple[str, str]


class _Pod:
    """What is known of a sandbox; ``ids`` are those of its containers, None: look again."""

    __slots__ = ("containers", "ids", "status")

    def __init__(self) -> None:
        self.status: SandboxStatus | None = None
        self.ids: list[str] | None = None
        self.containers: dict[str, ContainerStatus] = {}


class FollowedInventory(Inventory):
    """Lists of everything are kept. One of one sandbox, or a single status, is read anew."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._lock = threading.Lock()
        # Every running container has a descriptor here; others need some, too.
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4
        self._begin()

    def _begin(self) -> None:
        """Nothing is known yet."""
        self._changes = Inotify()
        self._ends = select.epoll()
        self._owners: dict[str, _Owner] = {}
        self._processes: dict[_Owner, int] = {}
        self._by_fd: dict[int, _Owner] = {}
        self._homes: dict[str, str] = {}
        self._pods: dict[str, _Pod] = {}
        self._sandboxes: list[SandboxStatus] | None = None
        self._containers: list[ContainerStatus] | None = None
        for path in (self.layout.sandboxes, self.layout.exits):
            self._changes.add(path, _MASK)

    def close(self) -> None:
        """Give back the descriptors."""
        self._changes.close()
        self._ends.close()
        for fd in self._by_fd:
            os.close(fd)
        self._by_fd.clear()

    def sandboxes(self) -> list[SandboxStatus]:
        """All sandboxes that are complete, newest first."""
        with self._lock:
            pods = self._catch_up()
            if self._sandboxes is not None:
                return list(self._sandboxes)
            found, whole = [], True
            for sandbox_id, pod in pods.items():
                status = pod.status or self._read_sandbox(sandbox_id, pod)
                whole = whole and pod.status is not None
                if status is not None:
                    found.append(status)
            found.sort(key=lambda status: -status.created_at)
            self._sandboxes = list(found) if whole else None
            return found

    def containers(self, sandbox_id: str | None = None) -> list[ContainerStatus]:
        """All complete containers (of one sandbox), newest first."""
        if sandbox_id is not None:
            return super().containers(sandbox_id)
        with self._lock:
            pods = self._catch_up()
            if self._containers is not None:
                return list(self._containers)
            found, whole = [], True
            for sandbox, pod in pods.items():
                for container_id in self._ids(sandbox, pod):
                    status = pod.containers.get(container_id)
                    if status is None:
                        status = self._read_container(sandbox, container_id, pod)
                        whole = whole and container_id in pod.containers
                    if status is not None:
                        found.append(status)
                whole = whole and pod.ids is not None
            found.sort(key=lambda status: -status.created_at)
            self._containers = list(found) if whole else None
            return found

    # What has changed

    def _catch_up(self) -> dict[str, _Pod]:
        """Forget what is not so any more; the pods that there are."""
        while events := self._changes.read_now():
            if any(event.overflow for event in events):
                self.close()
                self._begin()
                break
            for event in events:
                self._forget_changed(event)
        while ended := self._ends.poll(0):
            for fd, _ in ended:
                self._forget(self._by_fd[fd])
        known = self._pods
        if self._sandboxes is None or self._containers is None:
            there = self.layout.sandbox_ids()
            for gone in known.keys() - set(there):
                self._forget_pod(gone)
            for sandbox_id in there:
                known.setdefault(sandbox_id, _Pod())
        return known

    def _forget_changed(self, event: FileEvent) -> None:
        if event.path == self.layout.exits:
            container_id = event.name[:64]
            if sandbox_id := self._homes.get(container_id):
                self._forget((sandbox_id, container_id))
        elif event.path == self.layout.sandboxes:
            self._sandboxes = self._containers = None
        elif owner := self._owners.get(event.path):
            self._forget(owner)
            if event.removed:
                self._owners.pop(event.path, None)
            pod = self._pods.get(owner[0])
            if pod is not None and not owner[1] and is_id(event.name):
                pod.ids = None

    def _forget(self, owner: _Owner) -> None:
        """A sandbox' or a container's status has to be read again."""
        fd = self._processes.pop(owner, -1)
        if fd >= 0:
            del self._by_fd[fd]
            # Closing alone is not enough while a child that is being started has it, too.
            self._ends.unregister(fd)
            os.close(fd)
        sandbox_id, container_id = owner
        pod = self._pods.get(sandbox_id)
        if container_id:
            self._containers = None
            if pod is not None:
                pod.containers.pop(container_id, None)
        else:
            self._sandboxes = self._containers = None
            if pod is not None:
                pod.status = None

    def _forget_pod(self, sandbox_id: str) -> None:
        for container_id in self._pods[sandbox_id].ids or ():
            self._forget((sandbox_id, container_id))
            self._homes.pop(container_id, None)
        self._forget((sandbox_id, ""))
        del self._pods[sandbox_id]

    # Reading

    def _ids(self, sandbox_id: str, pod: _Pod) -> list[str]:
        if pod.ids is not None:
            return pod.ids
        watched = self._watch(self.layout.sandbox_dir(sandbox_id), (sandbox_id, ""))
        ids = self.layout.container_ids(sandbox_id)
        for gone in set(pod.containers) - set(ids):
            self._forget((sandbox_id, gone))
            self._homes.pop(gone, None)
        if watched:
            pod.ids = ids
        return ids

    def _read_sandbox(self, sandbox_id: str, pod: _Pod) -> SandboxStatus | None:
        """Keeps it, if every change of it will be seen."""
        owner = (sandbox_id, "")
        layout = self.layout
        watched = self._watch(layout.sandbox_dir(sandbox_id), owner)
        run_watched = self._watch(layout.sandbox_run(sandbox_id), owner)
        try:
            record = layout.load_sandbox(sandbox_id)
            live = layout.load_sandbox_live(sandbox_id)
        except PodsError:
            return None  # being made or removed just now
        if live is not None and live.phase == CREATING:
            return None
        # Without a live state it was lost with a reboot: that is made before the record.
        watched &= run_watched or live is None
        status = sandbox_status(record, live)
        if live is not None and live.infra_pid and status.state is SandboxState.READY:
            watched &= self._follow(owner, (live.infra_pid, live.infra_start))
        if watched:
            pod.status = status
        return status

    def _read_container(
        self, sandbox_id: str, container_id: str, pod: _Pod
    ) -> ContainerStatus | None:
        """As _read_sandbox."""
        owner = (sandbox_id, container_id)
        layout = self.layout
        self._homes[container_id] = sandbox_id
        watched = self._watch(layout.container_dir(sandbox_id, container_id), owner)
        run_watched = self._watch(layout.bundle(container_id), owner)
        try:
            record = layout.load_container(sandbox_id, container_id)
            live = layout.load_container_live(container_id)
        except PodsError:
            return None
        if live is not None and live.phase == CREATING:
            return None
        watched &= run_watched or live is None
        status = container_status(layout, record, live)
        if status.state is not ContainerState.EXITED and live is not None:
            watched &= self._follow(
                owner, (live.pid, live.pid_start), (live.monitor_pid, live.monitor_start)
            )
        if watched:
            pod.containers[container_id] = status
        return status

    def _watch(self, path: str, owner: _Owner) -> bool:
        """Whether changes in a directory are seen from now on."""
        if path in self._owners:
            return True
        try:
            self._changes.add(path, _MASK)
        except OSError:
            return False  # it is not there, or the kernel watches enough
        self._owners[path] = owner
        return True

    def _follow(self, owner: _Owner, *processes: tuple[int, int]) -> bool:
        """Whether the end of the first process that lives will be seen."""
        if owner in self._processes:
            return True
        if len(self._by_fd) >= self._most:
            return False
        for pid, start in processes:
            try:
                fd = open_alive(pid, start)
            except OSError:
                return False
            if fd is not None:
                self._ends.register(fd, select.EPOLLIN)
                self._processes[owner] = fd
                self._by_fd[fd] = owner
                return True
        return False
