"""Stopping and removing sandboxes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from msgspec.structs import replace

from trilby.pods import hooked, sandbox_network
from trilby.pods.container_stop import stop_container
from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import finish
from trilby.pods.errors import ContainerNotFound, SandboxNotFound
from trilby.pods.events import EventType
from trilby.pods.journal import AnyStep, Home, Journal, Processes
from trilby.pods.recovery_undo import end_processes, undo
from trilby.pods.state import CREATING, STOPPED
from trilby.pods.state_locks import Held, locked, take_lock, try_lock
from trilby.pods.trace import part

log = logging.getLogger(__name__)


async def stop_sandbox(parts: Parts, sandbox_id: str, timeout: float) -> None:
    """See Engine.stop_sandbox."""
    sandbox_id = parts.layout.find_sandbox(sandbox_id)
    with parts.traces.stage(sandbox_id, "stop_sandbox"):
        await _stop(parts, sandbox_id, timeout)


async def _stop(parts: Parts, sandbox_id: str, timeout: float) -> None:
    await _end_pending(parts, sandbox_id)
    async with locked(parts.layout.lock(sandbox_id)):
        live = parts.layout.load_sandbox_live(sandbox_id)
        if live is None or live.phase == CREATING:
            return
        record = parts.layout.load_sandbox(sandbox_id)
        attached = not (live.network_detached or sandbox_network.uses_host(record))
        news = live.phase != STOPPED or attached
        if live.phase != STOPPED:
            # First of all: no new containers.
            parts.layout.save_sandbox_live(sandbox_id, replace(live, phase=STOPPED))
    containers = parts.layout.container_ids(sandbox_id)
    with part("containers"):
        await asyncio.gather(*(_stop_quietly(parts, some, timeout) for some in containers))
    await hooked.end_all(parts, sandbox_id, containers)
    async with locked(parts.layout.lock(sandbox_id)):
        if not os.path.isdir(parts.layout.sandbox_dir(sandbox_id)):
            return
        journal = Journal(parts.layout.sandbox_dir(sandbox_id)).read()
        infra = [step for step in journal if isinstance(step, Processes)]
        await asyncio.gather(
            sandbox_network.detach(parts, sandbox_id),
            *(end_processes(parts, step) for step in infra),
            *(_forget(parts, sandbox_id, some) for some in containers),
        )
    if news:
        parts.events.publish(EventType.STOPPED, sandbox_id, sandbox_id)


async def _stop_quietly(parts: Parts, container_id: str, timeout: float) -> None:
    try:
        await stop_container(parts, container_id, timeout)
    except ContainerNotFound:
        pass  # removed meanwhile


async def _forget(parts: Parts, sandbox_id: str, container_id: str) -> None:
    """Remove the runtime's state of a stopped container while the network goes; it is quicker."""
    try:
        record = parts.layout.load_container(sandbox_id, container_id)
    except ContainerNotFound:
        return
    with part("runtime delete"):
        await parts.runtimes.get(record.handler).delete(container_id)


async def remove_sandbox(parts: Parts, sandbox_id: str) -> None:
    """See Engine.remove_sandbox: everything at once, whatever still runs is killed."""
    try:
        sandbox_id = parts.layout.find_sandbox(sandbox_id)
    except SandboxNotFound:
        return
    with parts.traces.stage(sandbox_id, "remove_sandbox"):
        await _remove_locked(parts, sandbox_id)


async def _remove_locked(parts: Parts, sandbox_id: str) -> None:
    await _end_pending(parts, sandbox_id)
    if parts.hooks.hooks is not None:
        await _stop(parts, sandbox_id, 0)  # hooks are told of ends before they are of removals
    gone = hooked.before_removal(parts, sandbox_id)
    lock = await take_lock(parts.layout.lock(sandbox_id))
    try:
        if os.path.isdir(parts.layout.sandbox_dir(sandbox_id)):
            await finish(_remove(parts, sandbox_id))
            parts.events.publish(EventType.DELETED, sandbox_id, sandbox_id)
        lock.unlink()
    finally:
        lock.release()
    await hooked.removed(parts, gone)


async def _remove(parts: Parts, sandbox_id: str) -> None:
    """Undo the journals of the sandbox and of its containers, together."""
    layout = parts.layout
    layout.hide_sandbox(sandbox_id)
    directory = layout.sandbox_dir(sandbox_id)
    steps: list[AnyStep] = Journal(directory).read() or [Home(directory)]
    locks: list[Held] = []
    try:
        for container_id in layout.container_ids(sandbox_id):
            # Whoever stops it holds no lock; whoever creates it cannot, under the sandbox' lock.
            held = try_lock(layout.lock(container_id))
            locks.append(held or await take_lock(layout.lock(container_id)))
            layout.hide_container(sandbox_id, container_id)
            steps += Journal(layout.container_dir(sandbox_id, container_id)).read()
        await undo(parts, steps)
        for held in locks:
            held.unlink()
    finally:
        for held in locks:
            held.release()


async def _end_pending(parts: Parts, sandbox_id: str) -> None:
    """A network that this engine is still setting up: wait for it, the lock is ours until then."""
    pending = parts.pending.get(sandbox_id)
    if pending is not None:
        await asyncio.wait([pending.task])
        parts.pending.pop(sandbox_id, None)
        with contextlib.suppress(asyncio.CancelledError):
            if error := pending.task.exception():
                log.info("sandbox %s had no network: %s", sandbox_id, error)
