"""Stopping and removing containers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

from trilby.pods import hooked
from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import finish
from trilby.pods.errors import ContainerNotFound, PodsError, StopFailed
from trilby.pods.events import EventType
from trilby.pods.journal import Home, Journal
from trilby.pods.recovery_undo import KILL_TIMEOUT, kill_and_wait, undo
from trilby.pods.state import ContainerLive, ContainerRecord
from trilby.pods.state_locks import locked
from trilby.pods.state_process import open_alive
from trilby.pods.state_status import container_exit
from trilby.pods.trace import part
from trilby.system import cgroups
from trilby.system.errors import CgroupFailed
from trilby.system.events import wait_pidfd


async def stop_container(parts: Parts, container_id: str, timeout: float) -> None:
    """See Engine.stop_container. Takes no lock: another call may ask for less grace meanwhile."""
    sandbox_id, container_id = parts.layout.find_container(container_id)
    record = parts.layout.load_container(sandbox_id, container_id)
    live = parts.layout.load_container_live(container_id)
    if live is None or container_exit(parts.layout, record, live):
        return
    with parts.traces.stage(sandbox_id, "stop_container", subject=record.config.name):
        await _stop(parts, record, live, timeout)
    await hooked.end(parts, sandbox_id, container_id)


async def _stop(parts: Parts, record: ContainerRecord, live: ContainerLive, timeout: float) -> None:
    pidfd = open_alive(live.pid, live.pid_start)
    if pidfd is not None:
        with part("signal and exit"):
            await _end(parts, record, live, pidfd, timeout)
    if record.shares_pids:
        # Its first process was no init: what it started lives on.
        await asyncio.to_thread(_kill_cgroup, record.cgroup)
    with part("exit on record"):
        await wait_exit(parts, record, KILL_TIMEOUT)


async def _end(
    parts: Parts, record: ContainerRecord, live: ContainerLive, pidfd: int, timeout: float
) -> None:
    """The stop signal, time, SIGKILL. A container that was not started gets no grace."""
    try:
        await _thaw(parts, record)
        if timeout > 0 and live.started_at:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal_number(record.stop_signal))
            if await wait_pidfd(pidfd, timeout):
                os.close(pidfd)
                return
    except BaseException:
        os.close(pidfd)
        raise
    await kill_and_wait([pidfd], f"container {record.config.name}")


async def _thaw(parts: Parts, record: ContainerRecord) -> None:
    """A paused container gets no signals."""
    cgroup = cgroups.Cgroup(record.cgroup)
    with contextlib.suppress(CgroupFailed):
        if cgroup.hierarchies.unified:
            frozen = "frozen 1" in cgroup.read("", "cgroup.events")
        else:
            frozen = cgroup.read("freezer", "freezer.state") != "THAWED"
        if frozen:
            await parts.runtimes.get(record.handler).resume(record.id)


async def wait_exit(parts: Parts, record: ContainerRecord, timeout: float | None) -> int:
    """Wait until the end of a container is on record, and return its code. Raises StopFailed."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        live = parts.layout.load_container_live(record.id)
        ended = container_exit(parts.layout, record, live)
        if ended is not None:
            return ended.code
        left = None if deadline is None else deadline - time.monotonic()
        monitor = (live.monitor_pid, live.monitor_start) if live else (0, 0)
        if left is not None and left <= 0:
            raise StopFailed(f"container {record.id[:12]}: its end is not on record")
        await parts.events.wait_exit(record.id, monitor, left)


async def remove_container(parts: Parts, container_id: str) -> None:
    """See Engine.remove_container."""
    try:
        sandbox_id, container_id = parts.layout.find_container(container_id)
        if parts.hooks.hooks is not None:
            await stop_container(parts, container_id, 0)
    except ContainerNotFound:
        return
    gone = hooked.before_removal(parts, sandbox_id, container_id)
    async with locked(parts.layout.lock(container_id)) as lock:
        if os.path.isdir(parts.layout.container_dir(sandbox_id, container_id)):
            name = _name(parts, sandbox_id, container_id)
            with parts.traces.stage(sandbox_id, "remove_container", subject=name):
                await finish(_remove(parts, sandbox_id, container_id))
            parts.events.publish(EventType.DELETED, container_id, sandbox_id)
        lock.unlink()
    await hooked.removed(parts, gone)


def _name(parts: Parts, sandbox_id: str, container_id: str) -> str:
    """What it is called; of one that is half removed already, the beginning of its id."""
    try:
        return parts.layout.load_container(sandbox_id, container_id).config.name
    except PodsError:
        return container_id[:12]


async def _remove(parts: Parts, sandbox_id: str, container_id: str) -> None:
    parts.layout.hide_container(sandbox_id, container_id)
    directory = parts.layout.container_dir(sandbox_id, container_id)
    steps = Journal(directory).read()
    await undo(parts, steps or [Home(directory)])


def signal_number(name: str) -> int:
    """``SIGTERM``, ``TERM``, ``15``, ``SIGRTMIN+3``; SIGTERM for what is none of them."""
    text = name.upper().removeprefix("SIG")
    base, plus, offset = text.partition("+")
    if text.isdigit():
        return int(text)
    try:
        if base == "RTMIN":
            return signal.SIGRTMIN + int(offset if plus else 0)
        if text.startswith("RTMAX-"):
            return signal.SIGRTMAX - int(text.removeprefix("RTMAX-"))
        return signal.Signals[f"SIG{text}"]
    except (KeyError, ValueError):
        return signal.SIGTERM


def _kill_cgroup(path: str) -> None:
    cgroup = cgroups.Cgroup(path)
    if cgroup.exists():
        cgroup.kill_all()
