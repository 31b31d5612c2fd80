"""At the engine's start: finish or undo what interrupted calls left, and forget nothing.

Whoever works on a sandbox or container holds its lock, also in another process. So what is unlocked
and unfinished has no maker any more.
"""

from __future__ import annotations

import contextlib
import logging
import os

from trilby.errors import TrilbyError
from trilby.pods.container_start import settle_start
from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import in_thread
from trilby.pods.errors import ContainerNotFound, SandboxNotFound, StateCorrupt
from trilby.pods.journal import AnyStep, Home, Journal, Processes, Rootfs, Tree
from trilby.pods.recovery_undo import undo, undo_after_failure
from trilby.pods.sandbox import clear
from trilby.pods.state import CREATING, STARTING, Layout, is_id
from trilby.pods.state_locks import Held, try_lock

log = logging.getLogger(__name__)


async def recover(parts: Parts) -> list[str]:
    """Clean up; returns one line for each thing that was undone. Never raises for one of them."""
    done: list[str] = []
    for sandbox_id in parts.layout.sandbox_ids():
        try:
            await _sandbox(parts, sandbox_id, done)
        except (TrilbyError, OSError) as error:
            log.warning("recovering sandbox %s: %s", sandbox_id, error)
    for clean in (_names, _run_directories, _rootfs, _attachments, _execs, _locks):
        try:
            await clean(parts, done)
        except (TrilbyError, OSError) as error:
            log.warning("recovering: %s", error)
    for line in done:
        log.info("recovered: %s", line)
    return done


async def _sandbox(parts: Parts, sandbox_id: str, done: list[str]) -> None:
    layout = parts.layout
    lock = try_lock(layout.lock(sandbox_id))
    if lock is None:
        return  # somebody is at it
    try:
        try:
            layout.load_sandbox(sandbox_id)
            live = layout.load_sandbox_live(sandbox_id)
            unfinished = live is not None and live.phase == CREATING
        except (SandboxNotFound, StateCorrupt):
            unfinished = True
        if unfinished:
            await clear(parts, sandbox_id)
            lock.unlink()
            done.append(f"sandbox {sandbox_id} was not complete, and is removed")
            return
        for container_id in layout.container_ids(sandbox_id):
            await _container(parts, sandbox_id, container_id, done)
    finally:
        lock.release()


async def _container(parts: Parts, sandbox_id: str, container_id: str, done: list[str]) -> None:
    layout = parts.layout
    lock = try_lock(layout.lock(container_id))
    if lock is None:
        return
    try:
        try:
            record = layout.load_container(sandbox_id, container_id)
            live = layout.load_container_live(container_id)
            unfinished = live is not None and live.phase == CREATING
            if live is not None and live.phase == STARTING:
                await settle_start(parts, record, live)
                done.append(f"container {container_id} was being started")
        except (ContainerNotFound, StateCorrupt):
            unfinished = True
        if not unfinished:
            return
        directory = layout.container_dir(sandbox_id, container_id)
        await undo(parts, Journal(directory).read() or [Home(directory)])
        lock.unlink()
        done.append(f"container {container_id} was not complete, and is removed")
    finally:
        lock.release()


def _known(layout: Layout) -> set[str]:
    """The ids of all sandboxes and containers."""
    sandboxes = layout.sandbox_ids()
    return {*sandboxes, *(some for one in sandboxes for some in layout.container_ids(one))}


def _orphan_lock(layout: Layout, some_id: str) -> Held | None:
    """The lock of what does not exist; None if somebody holds it, or has just made the thing."""
    lock = try_lock(layout.lock(some_id))
    if lock is not None and some_id in _known(layout):
        lock.release()
        return None
    return lock


async def _names(parts: Parts, done: list[str]) -> None:
    """Names of what does not exist (any more)."""
    layout = parts.layout
    known = _known(layout)
    for name in os.listdir(layout.names):
        link = f"{layout.names}/{name}"
        with contextlib.suppress(FileNotFoundError):
            some_id = os.readlink(link)
            if some_id not in known and (lock := _orphan_lock(layout, some_id)):
                os.unlink(link)
                lock.unlink()
                lock.release()
                done.append(f"a name was reserved for {some_id}, which does not exist")


async def _run_directories(parts: Parts, done: list[str]) -> None:
    """Run directories whose record is gone: without a journal, but their content is known."""
    layout = parts.layout
    known = _known(layout)
    for kind in ("c", "p"):
        for some_id in os.listdir(f"{layout.run_root}/{kind}"):
            if some_id in known or not is_id(some_id):
                continue
            lock = _orphan_lock(layout, some_id)
            if lock is None:
                continue
            path = f"{layout.run_root}/{kind}/{some_id}"
            steps: list[AnyStep] = [Tree(path)]
            if kind == "c":
                steps += [Processes(some_id, handler, "") for handler in parts.config.runtimes]
            await undo_after_failure(parts, steps)
            lock.unlink()
            lock.release()
            done.append(f"{path} belonged to nothing, and is removed")


async def _rootfs(parts: Parts, done: list[str]) -> None:
    """Containers of ours in the store that no sandbox has."""
    layout = parts.layout
    known = {some for one in layout.sandbox_ids() for some in layout.container_ids(one)}
    for container_id in await in_thread(parts.rootfs.leftovers, known):
        lock = _orphan_lock(layout, container_id)
        if lock is not None:
            await undo_after_failure(parts, [Rootfs(container_id)])
            lock.unlink()
            lock.release()
            done.append(f"the root file system of {container_id} belonged to nothing")


async def _attachments(parts: Parts, done: list[str]) -> None:
    """Places in networks that no sandbox has.

    Its plugins failed when it was removed; or the host was restarted, and its network with it.
    """
    try:
        names = os.listdir(f"{parts.config.cni_cache_dir}/results")
    except FileNotFoundError:
        return
    # In this order: a sandbox has its record before it has a place in a network.
    known = {
        sandbox_id
        for sandbox_id in parts.layout.sandbox_ids()
        if os.path.exists(f"{parts.layout.sandbox_run(sandbox_id)}/state.json")
    }
    if not any(not known & set(name.split("-")) for name in names):
        return
    from trilby.pods.network.cni import OWNER_KEY

    cni = parts.network.cni
    for cached in cni.cache.attachments():
        owner = cached.capabilities().get(OWNER_KEY)
        if owner == parts.config.root and cached.container_id not in known:
            try:
                await cni.delete_cached(cached)
                done.append(f"sandbox {cached.container_id} was still in a network")
            except TrilbyError as error:
                log.warning("leaving a network for %s: %s", cached.container_id, error)


async def _execs(parts: Parts, done: list[str]) -> None:
    """Folders of execs that began before the host or the engine ended; they live for moments."""
    import time

    for name in os.listdir(parts.layout.execs):
        path = f"{parts.layout.execs}/{name}"
        with contextlib.suppress(FileNotFoundError):
            if time.time() - os.stat(path).st_mtime > 600:
                await undo_after_failure(parts, [Tree(path)])


async def _locks(parts: Parts, done: list[str]) -> None:
    """Lock files of what is gone."""
    layout = parts.layout
    known = _known(layout)
    for name in os.listdir(layout.locks):
        if name not in known and (lock := _orphan_lock(layout, name)):
            lock.unlink()
            lock.release()
