"""Statuses from state files and /proc, without locks: what list and inspect show.

Light to import on purpose: no asyncio, no spec builder, no network.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from trilby.pods.errors import ContainerNotFound, PodsError, SandboxNotFound
from trilby.pods.model_status import (
    ContainerState,
    ContainerStatus,
    SandboxState,
    SandboxStatus,
)
from trilby.pods.state import (
    CREATED,
    CREATING,
    FAILED,
    READY,
    RUNNING,
    STARTING,
    ContainerLive,
    ContainerRecord,
    Layout,
    SandboxLive,
    SandboxRecord,
)
from trilby.pods.state_process import is_alive

START_ERROR_CODE: Final = 128
UNKNOWN_CODE: Final = 255


class Exit(msgspec.Struct, frozen=True):
    """How a container ended; ``code`` as a shell would say."""

    code: int
    finished_at: int = 0
    reason: str = ""
    message: str = ""


class Inventory:
    """Reads the state of sandboxes and containers under a layout's roots."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def close(self) -> None:
        """Give back what it holds; this one holds nothing."""

    def sandboxes(self) -> list[SandboxStatus]:
        """All sandboxes that are complete, newest first."""
        found = []
        for sandbox_id in self.layout.sandbox_ids():
            try:
                found.append(self.sandbox(sandbox_id))
            except PodsError:
                continue  # being made or removed just now
        return sorted(found, key=lambda status: -status.created_at)

    def sandbox(self, prefix: str) -> SandboxStatus:
        """Raises SandboxNotFound, also for one that is just being made or removed."""
        sandbox_id = self.layout.find_sandbox(prefix)
        record = self.layout.load_sandbox(sandbox_id)
        live = self.layout.load_sandbox_live(sandbox_id)
        if live is not None and live.phase == CREATING:
            raise SandboxNotFound(f"sandbox {sandbox_id} is being made")
        return sandbox_status(record, live)

    def containers(self, sandbox_id: str | None = None) -> list[ContainerStatus]:
        """All complete containers (of one sandbox), newest first."""
        sandboxes = self.layout.sandbox_ids() if sandbox_id is None else [sandbox_id]
        found = []
        for sandbox in sandboxes:
            for container_id in self.layout.container_ids(sandbox):
                try:
                    found.append(self._container(sandbox, container_id))
                except PodsError:
                    continue
        return sorted(found, key=lambda status: -status.created_at)

    def container(self, prefix: str) -> ContainerStatus:
        """Raises ContainerNotFound, also for one that is just being made or removed."""
        return self._container(*self.layout.find_container(prefix))

    def _container(self, sandbox_id: str, container_id: str) -> ContainerStatus:
        record = self.layout.load_container(sandbox_id, container_id)
        live = self.layout.load_container_live(container_id)
        if live is not None and live.phase == CREATING:
            raise ContainerNotFound(f"container {container_id} is being made")
        return container_status(self.layout, record, live)


def sandbox_status(record: SandboxRecord, live: SandboxLive | None) -> SandboxStatus:
    """A sandbox is ready while its network stands and its infra process, if any, lives."""
    config = record.config
    state, reason, message = SandboxState.NOTREADY, "", ""
    infra = live.infra_pid if live and is_alive(live.infra_pid, live.infra_start) else 0
    if live is None:
        reason, message = "HostRestarted", "the host was restarted"
    elif live.phase == READY and live.infra_pid and not infra:
        reason, message = "InfraExited", "the process that holds the PID namespace is gone"
    elif live.phase == READY:
        state = SandboxState.READY
    if live is not None and live.reason:
        reason, message = live.reason, live.message
    return SandboxStatus(
        id=record.id,
        name=config.name,
        uid=config.uid,
        namespace=config.namespace,
        attempt=config.attempt,
        state=state,
        created_at=record.created_at,
        ips=live.ips if live else (),
        namespaces=config.security.namespaces,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
        hostname=record.hostname,
        pid=infra,
        reason=reason,
        message=message,
    )


def container_status(
    layout: Layout, record: ContainerRecord, live: ContainerLive | None
) -> ContainerStatus:
    """What a container is now; see ``container_exit`` for how its end is known."""
    ended = container_exit(layout, record, live)
    config = live.config if live and live.config else record.config
    if ended is not None:
        state = ContainerState.EXITED
    elif live is not None and live.phase == RUNNING:
        state = ContainerState.RUNNING
    elif live is not None and live.phase in (CREATED, STARTING):
        state = ContainerState.CREATED
    else:
        state = ContainerState.UNKNOWN
    return ContainerStatus(
        id=record.id,
        sandbox_id=record.sandbox_id,
        name=config.name,
        attempt=config.attempt,
        state=state,
        created_at=record.created_at,
        started_at=live.started_at if live else 0,
        finished_at=ended.finished_at if ended else 0,
        exit_code=ended.code if ended else None,
        image=config.image,
        image_ref=record.image_ref,
        image_id=record.image_id,
        reason=ended.reason if ended else "",
        message=ended.message if ended else "",
        labels=config.labels,
        annotations=config.annotations,
        mounts=config.mounts,
        log_path=record.log_path,
        resources=config.resources,
        user=record.user,
        stop_signal=record.stop_signal,
        pid=live.pid if live and ended is None else 0,
        warnings=record.warnings,
    )


def container_exit(
    layout: Layout, record: ContainerRecord, live: ContainerLive | None
) -> Exit | None:
    """How the container ended, or None if it did not.

    conmon's exit file decides; it is modified when the container ended. Without one, a container
    whose process and whose monitor are both gone has ended in a way that nobody saw.
    """
    if live is not None and live.phase == FAILED:
        code = START_ERROR_CODE if live.exit_code is None else live.exit_code
        return Exit(code, live.finished_at, "StartError", live.message)
    persistent = layout.container_dir(record.sandbox_id, record.id)
    for path in (layout.exit_file(record.id), f"{persistent}/exit"):
        try:
            with open(path, "rb") as file:
                code = int(file.read().strip() or b"255")
                finished_at = os.fstat(file.fileno()).st_mtime_ns
        except (FileNotFoundError, ValueError):
            continue
        if os.path.exists(f"{persistent}/oom"):
            return Exit(code, finished_at, "OOMKilled", "it used more memory than its limit")
        return Exit(code, finished_at, "Error" if code else "Completed")
    if live is None:
        return Exit(UNKNOWN_CODE, 0, "Unknown", "the host was restarted while it ran")
    if is_alive(live.pid, live.pid_start) or is_alive(live.monitor_pid, live.monitor_start):
        return None
    if live.phase == CREATING:
        return None
    return Exit(UNKNOWN_CODE, 0, "Unknown", "its monitor died, so nobody saw it end")
