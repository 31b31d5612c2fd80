"""Making a sandbox: name, directories, namespaces, files, network, and an infra process if needed.

The order is that of the journal: first everything that will be made is written down, then made.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time

import msgspec

from trilby.pods import hooked, sandbox_network
from trilby.pods.engine_parts import Parts, Pending
from trilby.pods.engine_tasks import finish, in_thread
from trilby.pods.errors import InvalidPodConfig, NameInUse, SandboxNotFound
from trilby.pods.events import EventType
from trilby.pods.journal import (
    AnyStep,
    Attachment,
    Cgroup,
    Home,
    Journal,
    Mountpoint,
    Name,
    Pin,
    Tree,
)
from trilby.pods.model_common import NamespaceMode
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.model_status import SandboxState
from trilby.pods.recovery_undo import undo, undo_after_failure
from trilby.pods.sandbox_cgroup import cgroup_path, sandbox_cgroup
from trilby.pods.sandbox_files import pod_hostname, write_files
from trilby.pods.sandbox_infra import infra_steps, start_infra
from trilby.pods.spec.namespaces import build_sysctls, has_user_namespace, user_mappings
from trilby.pods.state import CREATING, READY, SandboxLive, SandboxRecord, new_id
from trilby.pods.state_locks import Held, forget_locks, locked, take_lock
from trilby.pods.state_status import sandbox_status
from trilby.pods.trace import part
from trilby.system.labels import has_labels
from trilby.system.mounts import TmpfsMount
from trilby.system.namespaces import create_pinned

log = logging.getLogger(__name__)

SHM_ANNOTATION = "io.trilby.shm-size"


def full_name(config: SandboxConfig) -> str:
    """The name that is unique on the node, in the convention of Kubernetes runtimes."""
    return f"k8s_{config.name}_{config.namespace}_{config.uid}_{config.attempt}"


async def run_sandbox(parts: Parts, config: SandboxConfig, *, wait_network: bool) -> str:
    """See Engine.run_sandbox."""
    record = _decide(parts, config)
    with parts.traces.stage(record.id, "run_sandbox"):
        return await _run(parts, record, wait_network)


async def _run(parts: Parts, record: SandboxRecord, wait_network: bool) -> str:
    while (lock := await _reserve(parts, record)) is None:
        existing = await _existing(parts, record.full_name)
        if existing:
            return existing
    journal = _steps(parts, record)
    try:
        with part("files and namespaces"):
            await in_thread(_make, parts, record, journal)
        setup = asyncio.create_task(_finish(parts, record, journal, lock))
    except BaseException:
        await finish(undo_after_failure(parts, journal))
        lock.unlink()
        lock.release()
        raise
    if wait_network:
        await _through(setup)
    else:
        parts.pending[record.id] = Pending(record.id, setup)
        setup.add_done_callback(lambda task: _collect(parts, record.id, task))
    return record.id


def _decide(parts: Parts, config: SandboxConfig) -> SandboxRecord:
    """Everything that can be refused before anything is made."""
    for label, value in (("name", config.name), ("uid", config.uid)):
        if not value:
            raise InvalidPodConfig(f"a sandbox needs a {label}")
    if config.log_directory and not os.path.isabs(config.log_directory):
        raise InvalidPodConfig(f"log directory {config.log_directory!r} is not absolute")
    sandbox_id = new_id()
    host_network = config.security.namespaces.network is NamespaceMode.NODE
    cgroup, own_cgroup = sandbox_cgroup(parts.config, config.cgroup_parent, sandbox_id)
    return SandboxRecord(
        id=sandbox_id,
        full_name=full_name(config),
        config=config,
        created_at=time.time_ns(),
        handler=parts.runtimes.resolve(config.runtime_handler),
        hostname=pod_hostname(config.hostname, sandbox_id, host_network),
        cgroup=cgroup,
        own_cgroup=own_cgroup,
        log_directory=config.log_directory or f"{parts.layout.sandbox_dir(sandbox_id)}/logs",
    )


async def _reserve(parts: Parts, record: SandboxRecord) -> Held | None:
    """Take the sandbox' lock and its name; None when the name is taken."""
    lock = await take_lock(parts.layout.lock(record.id))
    try:
        os.symlink(record.id, parts.layout.name_link(record.full_name))
    except FileExistsError:
        lock.unlink()
        lock.release()
        return None
    except BaseException:
        lock.unlink()
        lock.release()
        raise
    return lock


async def _existing(parts: Parts, name: str) -> str | None:
    """The ready sandbox that has the name; None when the name is free (again).

    Waits for one that is being made. Raises NameInUse when it is there, but not usable.
    """
    link = parts.layout.name_link(name)
    try:
        sandbox_id = os.readlink(link)
    except FileNotFoundError:
        return None
    if pending := parts.pending.get(sandbox_id):
        await asyncio.wait([pending.task])
    async with locked(parts.layout.lock(sandbox_id)) as lock:
        try:
            record = parts.layout.load_sandbox(sandbox_id)
        except SandboxNotFound:
            record = None
        live = parts.layout.load_sandbox_live(sandbox_id)
        if record is None or (live is not None and live.phase == CREATING):
            # Whoever made or removed it died half-way: nobody else holds the lock, so clear it.
            await clear(parts, sandbox_id, link)
            lock.unlink()
            return None
        if sandbox_status(record, live).state is SandboxState.READY:
            return sandbox_id
    raise NameInUse(
        f"sandbox {name} exists as {sandbox_id[:12]} and is not ready",
        hint="remove it, or ask with the next attempt number",
    )


async def clear(parts: Parts, sandbox_id: str, link: str = "") -> None:
    """Undo an unfinished sandbox, by its journal and by what its name alone says of it."""
    directory = parts.layout.sandbox_dir(sandbox_id)
    steps: list[AnyStep] = []
    containers = parts.layout.container_ids(sandbox_id)
    for container_id in containers:
        steps += Journal(f"{directory}/{container_id}").read()
    steps += Journal(directory).read()
    steps += _implied(parts, sandbox_id)
    await undo(parts, steps + ([Name(link, sandbox_id)] if link else []))
    forget_locks(parts.layout, containers)


def _implied(parts: Parts, sandbox_id: str) -> list[AnyStep]:
    """What a sandbox can have made, by its id: its journal may have been lost with the power."""
    run = parts.layout.sandbox_run(sandbox_id)
    pins = f"{run}/ns"
    steps: list[AnyStep] = [Home(parts.layout.sandbox_dir(sandbox_id)), Tree(run)]
    steps.append(Cgroup(cgroup_path(sandbox_cgroup(parts.config, "", sandbox_id)[0])))
    if os.path.isdir(pins):
        steps += [Pin(f"{pins}/{kind}") for kind in os.listdir(pins)]
        steps.append(Mountpoint(f"{run}/shm"))
    return steps


def _steps(parts: Parts, record: SandboxRecord) -> list[AnyStep]:
    """All that will be made outside the process."""
    layout, run = parts.layout, parts.layout.sandbox_run(record.id)
    steps: list[AnyStep] = [
        Name(layout.name_link(record.full_name), record.id),
        Home(layout.sandbox_dir(record.id)),
        Tree(run),
    ]
    if record.own_cgroup:
        steps.append(Cgroup(cgroup_path(record.cgroup)))
    steps += [Pin(f"{run}/ns/{kind}") for kind in _namespaces(record)]
    if "ipc" in _namespaces(record):
        steps.append(Mountpoint(f"{run}/shm"))
    steps += infra_steps(parts, record)
    if not sandbox_network.uses_host(record):
        steps.append(Attachment(record.id))
    return steps


def _namespaces(record: SandboxRecord) -> list[str]:
    options = record.config.security.namespaces
    kinds = ["user"] if has_user_namespace(options) else []
    kinds += [] if options.network is NamespaceMode.NODE else ["net", "uts"]
    return kinds + ([] if options.ipc is NamespaceMode.NODE else ["ipc"])


def _make(parts: Parts, record: SandboxRecord, steps: list[AnyStep]) -> None:
    """Everything that blocks and needs no network; runs in a thread."""
    layout, run = parts.layout, parts.layout.sandbox_run(record.id)
    config = record.config
    os.mkdir(layout.sandbox_dir(record.id), 0o700)
    Journal(layout.sandbox_dir(record.id)).write(steps)
    layout.save_sandbox(record)
    os.mkdir(run, 0o711)
    layout.save_sandbox_live(record.id, SandboxLive(phase=CREATING))
    os.makedirs(record.log_directory, 0o700, exist_ok=True)
    kinds = _namespaces(record)
    if kinds:
        with part("namespaces"):
            _make_namespaces(parts, record, kinds, f"{run}/ns")
    if "ipc" in kinds:
        os.mkdir(f"{run}/shm", 0o1777)
        size = int(config.annotations.get(SHM_ANNOTATION, parts.config.shm_size))
        TmpfsMount(
            f"{run}/shm", size=size, mode=0o1777, flags=("nosuid", "nodev", "noexec"), source="shm"
        ).mount()
        if has_labels():
            from trilby.pods.container_labels import label_shared

            label_shared(record, f"{run}/shm")
    host_network = sandbox_network.uses_host(record)
    owner = _root_of(record)
    write_files(run, record.hostname, config.dns, host_network=host_network, owner=owner)


def _root_of(record: SandboxRecord) -> tuple[int, int]:
    """The host's uid and gid of the pod's root."""
    uids, gids = user_mappings(record.config.security.namespaces.userns)
    return (uids[0].host_id, gids[0].host_id) if uids and gids else (0, 0)


def _make_namespaces(parts: Parts, record: SandboxRecord, kinds: list[str], directory: str) -> None:
    sysctls = _sysctls(parts, record)
    if "user" not in kinds:
        create_pinned(kinds, directory, hostname=record.hostname, sysctls=sysctls)
        return
    from trilby.storage.drivers.overlayidmap import make_reachable
    from trilby.system.userns import IdRange, create_pinned_user

    # The runtime looks for what it mounts with the container's IDs; the store's own run root,
    # which ours usually is in, is closed to others.
    run_root = parts.layout.run_root
    make_reachable(f"{run_root}/c", os.path.dirname(run_root))
    uids, gids = (
        [IdRange(one.container_id, one.host_id, one.size) for one in mappings]
        for mappings in user_mappings(record.config.security.namespaces.userns)
    )
    create_pinned_user(kinds, directory, uids, gids, hostname=record.hostname, sysctls=sysctls)


def _sysctls(parts: Parts, record: SandboxRecord) -> dict[str, str]:
    """The engine's defaults that fit the pod's namespaces, and what the pod asks for."""
    config = record.config
    sysctls, warnings = build_sysctls(
        parts.config.default_sysctls, config.sysctls, config.security.namespaces
    )
    for warning in warnings:
        log.warning("sandbox %s: %s", config.name, warning)
    return sysctls


async def _finish(parts: Parts, record: SandboxRecord, steps: list[AnyStep], lock: Held) -> None:
    """The network and the infra process at the same time; then the sandbox is ready."""
    try:
        live = SandboxLive(phase=READY)
        async with asyncio.TaskGroup() as group:
            infra = group.create_task(start_infra(parts, record))
            if not sandbox_network.uses_host(record):
                ips = group.create_task(sandbox_network.attach(parts, record))
        if not sandbox_network.uses_host(record):
            live = msgspec.structs.replace(live, ips=ips.result())
        pid, start = infra.result()
        live = msgspec.structs.replace(live, infra_pid=pid, infra_start=start)
        await hooked.stand(parts, record, live)
        parts.events.publish(EventType.CREATED, record.id, record.id)
        parts.events.publish(EventType.STARTED, record.id, record.id)
    except BaseException as error:
        # Containers may have been created meanwhile: clear() finds their journals too.
        await finish(_clear_after_failure(parts, record, steps))
        lock.unlink()
        if isinstance(error, BaseExceptionGroup):
            raise error.exceptions[0] from error
        raise
    finally:
        lock.release()


async def _clear_after_failure(parts: Parts, record: SandboxRecord, steps: list[AnyStep]) -> None:
    if pending := parts.pending.get(record.id):
        await pending.fail()
    directory = parts.layout.sandbox_dir(record.id)
    all_steps = list(steps)
    containers = parts.layout.container_ids(record.id)
    for container_id in containers:
        all_steps += Journal(f"{directory}/{container_id}").read()
    await undo_after_failure(parts, all_steps)
    forget_locks(parts.layout, containers)


async def _through(task: asyncio.Task[None]) -> None:
    """Wait for a task; being cancelled here cancels it, and waits for its cleaning up."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise


def _collect(parts: Parts, sandbox_id: str, task: asyncio.Task[None]) -> None:
    """Forget a background setup that went well; a failed one waits for wait_network()."""
    if not task.cancelled() and task.exception() is None:
        parts.pending.pop(sandbox_id, None)


async def wait_network(parts: Parts, sandbox_id: str) -> None:
    """See Engine.wait_network."""
    pending = parts.pending.get(sandbox_id)
    if pending is not None:
        try:
            await asyncio.shield(pending.task)
        finally:
            if pending.task.done():
                parts.pending.pop(sandbox_id, None)
