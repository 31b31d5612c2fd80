"""Creating a container: name, root file system, OCI config, and the runtime's create by conmon."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from trilby.oci import codec
from trilby.pods import hooked, monitor
from trilby.pods.container_rootfs import IdMappings, ImageFacts
from trilby.pods.container_volumes import places
from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import finish, in_thread
from trilby.pods.errors import (
    ContainerNotFound,
    InvalidPodConfig,
    NameInUse,
    RuntimeFailed,
    SandboxNotFound,
    SandboxNotReady,
)
from trilby.pods.events import EventType
from trilby.pods.journal import AnyStep, Home, Journal, Mountpoint, Name, Processes, Rootfs, Tree
from trilby.pods.model_common import NamespaceMode
from trilby.pods.model_container import ContainerConfig
from trilby.pods.model_status import ContainerUser
from trilby.pods.recovery_undo import undo, undo_after_failure
from trilby.pods.runtime import warm_cgroups
from trilby.pods.sandbox_cgroup import cgroup_path, container_cgroup
from trilby.pods.sandbox_files import write_config
from trilby.pods.spec.namespaces import user_mappings
from trilby.pods.state import (
    CREATED,
    CREATING,
    FAILED,
    READY,
    ContainerLive,
    ContainerRecord,
    SandboxRecord,
    new_id,
)
from trilby.pods.state_locks import Held, locked, take_lock
from trilby.pods.state_status import START_ERROR_CODE
from trilby.pods.trace import part

if TYPE_CHECKING:
    from trilby.oci.runtime import Spec
    from trilby.pods.spec.inputs import BuiltSpec

DEFAULT_STOP_SIGNAL = "SIGTERM"


async def create_container(parts: Parts, sandbox_id: str, config: ContainerConfig) -> str:
    """See Engine.create_container."""
    sandbox_id = parts.layout.find_sandbox(sandbox_id)
    with parts.traces.stage(sandbox_id, "create_container", subject=config.name):
        return await _create_in(parts, sandbox_id, config)


async def _create_in(parts: Parts, sandbox_id: str, config: ContainerConfig) -> str:
    if pending := parts.pending.get(sandbox_id):
        # This engine holds the sandbox' lock itself, until its network is up.
        with pending.use():
            return await _create(parts, parts.layout.load_sandbox(sandbox_id), config)
    live = parts.layout.load_sandbox_live(sandbox_id)
    if live is not None and live.phase == CREATING:
        raise SandboxNotFound(f"sandbox {sandbox_id} is being made")
    async with locked(parts.layout.lock(sandbox_id), shared=True):
        sandbox = parts.layout.load_sandbox(sandbox_id)
        live = parts.layout.load_sandbox_live(sandbox_id)
        if live is None or live.phase != READY:
            raise SandboxNotReady(
                f"creating container {config.name}: sandbox {sandbox_id[:12]} is not ready",
                hint="a stopped sandbox is not started again; run a new one",
            )
        return await _create(parts, sandbox, config)


async def _create(parts: Parts, sandbox: SandboxRecord, config: ContainerConfig) -> str:
    if not config.name or not config.image.image:
        raise InvalidPodConfig("a container needs a name and an image")
    warm_cgroups()
    container_id = new_id()
    while (lock := await _reserve(parts, sandbox, container_id, config)) is None:
        existing = await _existing(parts, sandbox, config)
        if existing:
            return existing
    steps = _steps(parts, sandbox, container_id, config)
    try:
        await _make(parts, sandbox, container_id, config, steps)
    except BaseException:
        await finish(undo_after_failure(parts, steps))
        lock.unlink()
        raise
    finally:
        lock.release()
    parts.events.publish(EventType.CREATED, container_id, sandbox.id)
    return container_id


def full_name(sandbox: SandboxRecord, config: ContainerConfig) -> str:
    """The name that is unique on the node, in the convention of Kubernetes runtimes."""
    pod = sandbox.config
    return f"k8s_{config.name}_{pod.name}_{pod.namespace}_{pod.uid}_{config.attempt}"


async def _reserve(
    parts: Parts, sandbox: SandboxRecord, container_id: str, config: ContainerConfig
) -> Held | None:
    lock = await take_lock(parts.layout.lock(container_id))
    try:
        os.symlink(container_id, parts.layout.name_link(full_name(sandbox, config)))
        return lock
    except BaseException as error:
        lock.unlink()
        lock.release()
        if isinstance(error, FileExistsError):
            return None
        raise


async def _existing(parts: Parts, sandbox: SandboxRecord, config: ContainerConfig) -> str | None:
    """The container that has the name, after waiting for its creation; None if the name is free.

    Clears one away whose maker died. Raises NameInUse when it is another sandbox'.
    """
    link = parts.layout.name_link(full_name(sandbox, config))
    try:
        container_id = os.readlink(link)
    except FileNotFoundError:
        return None
    async with locked(parts.layout.lock(container_id)) as lock:
        try:
            record = parts.layout.load_container(sandbox.id, container_id)
        except ContainerNotFound:
            record = None
        live = parts.layout.load_container_live(container_id)
        if record is None or (live is not None and live.phase == CREATING):
            directory = parts.layout.container_dir(sandbox.id, container_id)
            steps = [*Journal(directory).read(), Home(directory), Name(link, container_id)]
            await undo(parts, steps)
            lock.unlink()
            return None
    if record.config != config:
        raise NameInUse(
            f"container {record.full_name} exists as {container_id[:12]}, configured otherwise",
            hint="remove it, or ask with the next attempt number",
        )
    return container_id


def _steps(
    parts: Parts, sandbox: SandboxRecord, container_id: str, config: ContainerConfig
) -> list[AnyStep]:
    """All that will be made outside the process."""
    cgroup = cgroup_path(container_cgroup(parts.config, sandbox.cgroup, container_id))
    bundle = parts.layout.bundle(container_id)
    return [
        Name(parts.layout.name_link(full_name(sandbox, config)), container_id),
        Home(parts.layout.container_dir(sandbox.id, container_id)),
        Tree(bundle),
        *(Mountpoint(place) for place in places(bundle, config).values()),
        Rootfs(container_id),
        Processes(container_id, sandbox.handler, cgroup),
    ]


async def _make(
    parts: Parts,
    sandbox: SandboxRecord,
    container_id: str,
    config: ContainerConfig,
    steps: list[AnyStep],
) -> None:
    async with parts.hooks.making() as hooks:
        record, spec, mounted = await in_thread(
            _prepare, parts, sandbox, container_id, config, steps
        )
        try:
            async with hooked.created(parts, hooks, record, spec, steps) as (record, spec):
                await in_thread(_write, parts, record, spec)
                live = await _created(parts, record)
                parts.layout.save_container_live(container_id, live)
        finally:
            # The container's own mount namespace holds what it needs of them.
            await in_thread(mounted.close)


async def _created(parts: Parts, record: ContainerRecord) -> ContainerLive:
    """Have it created. What the runtime refuses stays as evidence, and fails when it is started.

    Runtimes differ in when they find out that a program does not exist, at create or at start;
    for the caller it is always the start, as the Kubernetes CRI has a state for that.
    """
    runtime = parts.runtimes.get(record.handler)
    try:
        with part("conmon and runtime create"):
            made = await monitor.create(parts.config.conmon, runtime, _request(parts, record))
    except RuntimeFailed as error:
        return ContainerLive(
            phase=FAILED,
            monitor_pid=monitor.read_pid(f"{parts.layout.bundle(record.id)}/conmon.pid"),
            finished_at=time.time_ns(),
            exit_code=START_ERROR_CODE,
            message=error.message,
            hint=error.hint,
        )
    return ContainerLive(
        phase=CREATED,
        pid=made.pid,
        pid_start=made.pid_start,
        monitor_pid=made.monitor_pid,
        monitor_start=made.monitor_start,
    )


def _prepare(
    parts: Parts,
    sandbox: SandboxRecord,
    container_id: str,
    config: ContainerConfig,
    steps: list[AnyStep],
) -> tuple[ContainerRecord, Spec, ExitStack]:
    """Everything that blocks, before hooks; runs in a thread. Also what it mounted for that."""
    # Imported here: the spec builder is large, and this thread runs beside the pod's network.
    from trilby.pods.container_bundle import build_bundle
    from trilby.pods.container_labels import label_mounts, labels_of

    layout = parts.layout
    directory = layout.container_dir(sandbox.id, container_id)
    bundle = layout.bundle(container_id)
    os.mkdir(directory, 0o700)
    Journal(directory).write(steps)
    os.mkdir(bundle, 0o711)
    layout.save_container_live(container_id, ContainerLive(phase=CREATING))
    name = full_name(sandbox, config)
    metadata = msgspec.json.encode(
        {
            "manager": "trilby",
            "engine": parts.config.root,
            "pod-id": sandbox.id,
            "pod-name": sandbox.full_name,
            "container-name": config.name,
            "image-name": config.image.user_specified or config.image.image,
        }
    ).decode()
    ids = IdMappings(*user_mappings(sandbox.config.security.namespaces.userns))
    labels = labels_of(sandbox, config)
    with part("root file system"):
        image = parts.rootfs.create(container_id, name, config.image.image, metadata, ids, labels)
    with ExitStack() as mounted:
        with part("mount"):
            rootfs = parts.rootfs.mount(container_id)
        with part("OCI config"):
            built = build_bundle(parts, sandbox, container_id, config, image, rootfs, mounted)
        label_mounts(built.spec, config, labels)
        record = _record(parts, sandbox, container_id, config, image, built)
        return record, built.spec, mounted.pop_all()


def _write(parts: Parts, record: ContainerRecord, spec: Spec) -> None:
    """What conmon and the runtime need, and the record; blocks."""
    os.makedirs(os.path.dirname(record.log_path), 0o755, exist_ok=True)
    if os.path.islink(record.log_path) and not os.path.exists(record.log_path):
        os.unlink(record.log_path)  # conmon would follow what a removed container left
    write_config(parts.layout.bundle(record.id), codec.encode(spec))
    parts.layout.save_container(record)


def _record(
    parts: Parts,
    sandbox: SandboxRecord,
    container_id: str,
    config: ContainerConfig,
    image: ImageFacts,
    built: BuiltSpec,
) -> ContainerRecord:
    user = built.user
    return ContainerRecord(
        id=container_id,
        sandbox_id=sandbox.id,
        full_name=full_name(sandbox, config),
        config=config,
        created_at=time.time_ns(),
        handler=sandbox.handler,
        log_path=_log_path(sandbox, config),
        cgroup=cgroup_path(container_cgroup(parts.config, sandbox.cgroup, container_id)),
        image_id=image.id,
        image_ref=image.ref,
        stop_signal=_stop_signal(config, image),
        user=ContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=user.groups),
        warnings=built.warnings,
        shares_pids=config.security.namespaces.pid is not NamespaceMode.CONTAINER,
    )


def _log_path(sandbox: SandboxRecord, config: ContainerConfig) -> str:
    """Where the log goes; without a name in the request, it has that of the container."""
    name = config.log_path or f"{config.name}/{config.attempt}.log"
    path = os.path.normpath(f"{sandbox.log_directory}/{name.lstrip('/')}")
    if not path.startswith(f"{os.path.normpath(sandbox.log_directory)}/"):
        raise InvalidPodConfig(f"log path {name!r} leads out of the pod's log directory")
    return path


def _stop_signal(config: ContainerConfig, image: ImageFacts) -> str:
    return config.stop_signal or image.config.config.stop_signal or DEFAULT_STOP_SIGNAL


def _request(parts: Parts, record: ContainerRecord) -> monitor.MonitorRequest:
    config = record.config
    settings = parts.config
    log = "journald:" if settings.log_to_journald else f"k8s-file:{record.log_path}"
    return monitor.MonitorRequest(
        container_id=record.id,
        name=record.full_name,
        bundle=parts.layout.bundle(record.id),
        persist_dir=parts.layout.container_dir(record.sandbox_id, record.id),
        exits=parts.layout.exits,
        log=log,
        terminal=config.tty,
        stdin=config.stdin,
        leave_stdin_open=config.leaves_stdin,
        log_size_max=settings.log_size_max,
        no_sync_log=settings.no_sync_log,
    )
