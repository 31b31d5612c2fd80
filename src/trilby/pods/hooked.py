"""Telling hooks what happens to sandboxes and containers; see trilby.pods.hooks.

Everything here does nothing as long as there are no hooks.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator

import msgspec
from msgspec.structs import replace

from trilby.errors import NotFound, TrilbyError
from trilby.oci.errors import OciError
from trilby.oci.runtime import Linux, LinuxResources, Namespace, Spec, parse_spec
from trilby.pods.config import CgroupManager
from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import finish
from trilby.pods.errors import InvalidPodConfig, PodsError, RuntimeFailed, WrongContainerState
from trilby.pods.hooks import HookedContainer, HookedSandbox, Hooks, Update
from trilby.pods.journal import AnyStep, Cgroup, Journal
from trilby.pods.model_common import Resources
from trilby.pods.sandbox_cgroup import cgroup_path
from trilby.pods.state import (
    CREATING,
    ContainerLive,
    ContainerRecord,
    Layout,
    SandboxLive,
    SandboxRecord,
)
from trilby.pods.state_status import container_status
from trilby.pods.trace import part

__all__ = [
    "Gone",
    "apply_updates",
    "before_removal",
    "created",
    "end",
    "end_all",
    "pod_view",
    "removed",
    "stand",
    "start",
    "started",
    "state",
    "update",
    "updated",
    "view",
]

log = logging.getLogger(__name__)

#: How long an update that a hook wants waits for a container that somebody is at, in seconds.
PATIENCE = 2.0

#: OCI's names of the namespaces that sandboxes pin.
_NAMESPACES = {"net": "network"}


class Gone(msgspec.Struct, frozen=True):
    """What hooks are told after a removal, gathered before it."""

    pod: HookedSandbox
    containers: tuple[HookedContainer, ...]
    whole: bool


# What hooks see


def pod_view(layout: Layout, record: SandboxRecord, live: SandboxLive | None) -> HookedSandbox:
    """A sandbox for hooks."""
    pins = f"{layout.sandbox_run(record.id)}/ns"
    kinds = sorted(os.listdir(pins)) if os.path.isdir(pins) else []
    return HookedSandbox(
        record=record,
        live=live or SandboxLive(phase=""),
        namespaces=tuple(
            Namespace(_NAMESPACES.get(kind, kind), f"{pins}/{kind}") for kind in kinds
        ),
    )


def view(layout: Layout, sandbox_id: str, container_id: str) -> HookedContainer:
    """A container for hooks, as it is now. Raises ContainerNotFound."""
    record = layout.load_container(sandbox_id, container_id)
    live = layout.load_container_live(container_id)
    return HookedContainer(
        record=record,
        spec=_spec(layout, record, live),
        status=container_status(layout, record, live),
    )


def _spec(layout: Layout, record: ContainerRecord, live: ContainerLive | None) -> Spec:
    """What it was made with, with the limits that it has now; empty after a reboot."""
    try:
        with open(f"{layout.bundle(record.id)}/config.json", "rb") as file:
            spec = parse_spec(file.read())
    except (OSError, OciError):
        return Spec("")
    if live is None or live.config is None:
        return spec
    from trilby.pods.container_update import overlay, runtime_resources

    linux = spec.linux or Linux()
    limits = overlay(linux.resources or LinuxResources(), runtime_resources(live.config.resources))
    return replace(spec, linux=replace(linux, resources=limits))


def state(layout: Layout) -> tuple[list[HookedSandbox], list[HookedContainer]]:
    """Everything that is complete; blocks."""
    pods, containers = [], []
    for sandbox_id in layout.sandbox_ids():
        try:
            record = layout.load_sandbox(sandbox_id)
            live = layout.load_sandbox_live(sandbox_id)
            if live is not None and live.phase == CREATING:
                continue
            pods.append(pod_view(layout, record, live))
        except (PodsError, OSError):
            continue  # being removed just now
        for container_id in layout.container_ids(sandbox_id):
            try:
                made = layout.load_container_live(container_id)
                if made is None or made.phase != CREATING:
                    containers.append(view(layout, sandbox_id, container_id))
            except (PodsError, OSError):
                continue
    return pods, containers


# Sandboxes


async def stand(parts: Parts, record: SandboxRecord, live: SandboxLive) -> None:
    """The sandbox is there from here on, if the hooks agree. Raises what they raise."""
    async with parts.hooks.making() as hooks:
        if hooks is not None:
            with part("hooks"):
                await hooks.run_sandbox(pod_view(parts.layout, record, live))
        parts.layout.save_sandbox_live(record.id, live)


async def end_all(parts: Parts, sandbox_id: str, containers: Iterable[str]) -> None:
    """All containers of a sandbox have ended, and it is about to leave its network."""
    hooks = parts.hooks.hooks
    if hooks is None:
        return
    for container_id in containers:
        await end(parts, sandbox_id, container_id)
    with _logged(sandbox_id):
        await hooks.stop_sandbox(_pod(parts, sandbox_id))


def before_removal(parts: Parts, sandbox_id: str, container_id: str = "") -> Gone | None:
    """What to tell after the removal of a container, or of a whole sandbox."""
    if parts.hooks.hooks is None:
        return None
    try:
        pod = _pod(parts, sandbox_id)
    except (PodsError, OSError):
        return None
    containers = []
    for some in [container_id] if container_id else parts.layout.container_ids(sandbox_id):
        try:
            containers.append(view(parts.layout, sandbox_id, some))
        except (PodsError, OSError):
            continue
    return Gone(pod, tuple(containers), whole=not container_id)


async def removed(parts: Parts, gone: Gone | None) -> None:
    """What before_removal() has gathered is gone."""
    hooks = parts.hooks.hooks
    if gone is None or hooks is None:
        return
    with _logged(gone.pod.record.id):
        for container in gone.containers:
            await hooks.remove(gone.pod, container)
        if gone.whole:
            await hooks.remove_sandbox(gone.pod)


def _pod(parts: Parts, sandbox_id: str) -> HookedSandbox:
    record = parts.layout.load_sandbox(sandbox_id)
    return pod_view(parts.layout, record, parts.layout.load_sandbox_live(sandbox_id))


# Containers


@contextlib.asynccontextmanager
async def created(
    parts: Parts,
    hooks: Hooks | None,
    record: ContainerRecord,
    spec: Spec,
    steps: list[AnyStep],
) -> AsyncIterator[tuple[ContainerRecord, Spec]]:
    """A container as the hooks want it; inside the block it is made, and becomes visible.

    ``steps`` get what there is more to undo. Raises what the hooks raise, and RuntimeFailed when
    another container is not updated. Hooks are told when it was not made after all.
    """
    if hooks is None:
        yield record, spec
        return
    pod = _pod(parts, record.sandbox_id)
    container = HookedContainer(record=record, spec=spec)
    with part("hooks"):
        adjusted = await hooks.create_container(pod, container)
    try:
        record = replace(record, warnings=record.warnings + adjusted.warnings)
        wanted = adjusted.spec.linux.cgroups_path if adjusted.spec.linux else ""
        if spec.linux is not None and wanted and wanted != spec.linux.cgroups_path:
            record = _moved(parts, record, wanted, steps)
        if failed := await apply_updates(parts, adjusted.updates):
            raise RuntimeFailed(
                f"creating container {record.config.name}: hooks want an update of"
                f" {', '.join(some[:12] for some in failed)}, which failed"
            )
        yield record, adjusted.spec
        with _logged(record.id):
            await hooks.post_create(pod, view(parts.layout, record.sandbox_id, record.id))
    except BaseException:
        await finish(_unmade(hooks, pod, container))
        raise


async def _unmade(hooks: Hooks, pod: HookedSandbox, container: HookedContainer) -> None:
    with _logged(container.record.id):
        await hooks.stop(pod, container)
        await hooks.remove(pod, container)


@contextlib.contextmanager
def _logged(some_id: str) -> Iterator[None]:
    """For what hooks cannot refuse any more."""
    try:
        yield
    except TrilbyError as error:
        log.warning("hooks of %s: %s", some_id, error)


def _moved(
    parts: Parts, record: ContainerRecord, wanted: str, steps: list[AnyStep]
) -> ContainerRecord:
    """The container in another cgroup, which is written down like everything that is made."""
    systemd = parts.config.cgroup_manager is CgroupManager.SYSTEMD
    if (wanted.count(":") != 2) if systemd else (":" in wanted or not wanted.startswith("/")):
        raise InvalidPodConfig(f"container {record.config.name}: no cgroup path: {wanted!r}")
    path = cgroup_path(wanted)
    step = Cgroup(path)
    Journal(parts.layout.container_dir(record.sandbox_id, record.id)).write([step])
    steps.append(step)
    return replace(record, cgroup=path)


async def start(parts: Parts, record: ContainerRecord) -> None:
    """A container is about to be started. Raises what the hooks raise."""
    if (hooks := parts.hooks.hooks) is not None:
        pod = _pod(parts, record.sandbox_id)
        with part("hooks"):
            await hooks.start(pod, view(parts.layout, record.sandbox_id, record.id))


async def started(parts: Parts, record: ContainerRecord) -> None:
    """A container was started."""
    if (hooks := parts.hooks.hooks) is not None:
        with _logged(record.id):
            pod = _pod(parts, record.sandbox_id)
            await hooks.post_start(pod, view(parts.layout, record.sandbox_id, record.id))


async def end(parts: Parts, sandbox_id: str, container_id: str) -> None:
    """A container has ended; hooks that know it already do nothing."""
    hooks = parts.hooks.hooks
    if hooks is None:
        return
    with _logged(container_id), contextlib.suppress(NotFound):  # removed, and hooks were told
        pod = _pod(parts, sandbox_id)
        updates = await hooks.stop(pod, view(parts.layout, sandbox_id, container_id))
        if failed := await apply_updates(parts, updates):
            log.warning("hooks want updates that failed: %s", ", ".join(failed))


async def update(
    parts: Parts, record: ContainerRecord, resources: Resources
) -> LinuxResources | None:
    """The limits that hooks want in place of those asked for, if any; others are changed first.

    Raises what the hooks raise, and RuntimeFailed when another container is not updated.
    """
    if (hooks := parts.hooks.hooks) is None:
        return None
    pod = _pod(parts, record.sandbox_id)
    container = view(parts.layout, record.sandbox_id, record.id)
    wanted = await hooks.update(pod, container, resources)
    if failed := await apply_updates(parts, wanted.updates):
        raise RuntimeFailed(
            f"updating container {record.config.name}: hooks want an update of"
            f" {', '.join(some[:12] for some in failed)}, which failed"
        )
    return wanted.limits


async def updated(parts: Parts, record: ContainerRecord) -> None:
    """A container has new limits."""
    if (hooks := parts.hooks.hooks) is not None:
        with _logged(record.id):
            pod = _pod(parts, record.sandbox_id)
            await hooks.post_update(pod, view(parts.layout, record.sandbox_id, record.id))


async def apply_updates(parts: Parts, updates: Iterable[Update]) -> list[str]:
    """Change limits that hooks want changed; the ids of those that it went wrong with.

    What does not live any more counts as changed.
    """
    from trilby.pods.container_update import apply_limits

    failed = []
    for update in updates:
        try:
            await apply_limits(parts, update.container_id, update.limits, PATIENCE)
        except (NotFound, WrongContainerState) as error:
            log.info("an update that hooks want: %s", error)
        except TrilbyError as error:
            log.warning("an update that hooks want: %s", error)
            if not update.ignore_failure:
                failed.append(update.container_id)
    return failed
