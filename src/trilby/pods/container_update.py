"""Changing the limits of a living container."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TypeVar

from msgspec.structs import asdict, replace

from trilby.oci.runtime import Cpu, LinuxResources, Memory
from trilby.pods import hooked, model_common
from trilby.pods.engine_parts import Parts
from trilby.pods.errors import InvalidPodConfig, RuntimeFailed, WrongContainerState
from trilby.pods.model_common import Resources
from trilby.pods.spec.host import detect_host
from trilby.pods.spec.resources import build_resources
from trilby.pods.state import ContainerLive, ContainerRecord
from trilby.pods.state_locks import locked
from trilby.pods.state_status import container_exit
from trilby.system.cgroups import Cgroup
from trilby.system.errors import CgroupFailed

log = logging.getLogger(__name__)

Part = TypeVar("Part", Memory, Cpu)


async def update_resources(parts: Parts, container_id: str, resources: Resources) -> None:
    """See Engine.update_resources."""
    sandbox_id, container_id = parts.layout.find_container(container_id)
    async with locked(parts.layout.lock(container_id)):
        record, live = _living(parts, sandbox_id, container_id)
        limits = await hooked.update(parts, record, resources)
        if limits is None:
            limits = runtime_resources(resources)
        else:
            resources = replace(recorded(limits), oom_score_adj=resources.oom_score_adj)
        await _apply(parts, record, live, limits, resources)
        await hooked.updated(parts, record)


async def apply_limits(
    parts: Parts, container_id: str, limits: LinuxResources, patience: float
) -> None:
    """What hooks want changed, without asking them; waits ``patience`` seconds for the lock."""
    sandbox_id, container_id = parts.layout.find_container(container_id)
    async with locked(parts.layout.lock(container_id), timeout=patience):
        record, live = _living(parts, sandbox_id, container_id)
        await _apply(parts, record, live, limits, recorded(limits))


def _living(
    parts: Parts, sandbox_id: str, container_id: str
) -> tuple[ContainerRecord, ContainerLive]:
    record = parts.layout.load_container(sandbox_id, container_id)
    live = parts.layout.load_container_live(container_id)
    if live is None or container_exit(parts.layout, record, live):
        raise WrongContainerState(
            f"updating container {record.config.name} ({container_id[:12]}): it has ended"
        )
    return record, live


async def _apply(
    parts: Parts,
    record: ContainerRecord,
    live: ContainerLive,
    limits: LinuxResources,
    resources: Resources,
) -> None:
    """Set ``limits``, and record them as ``resources``: all of them, or none."""
    config = live.config or record.config
    if limits != LinuxResources():
        await asyncio.to_thread(_check_memory, record, limits.memory)
        runtime = parts.runtimes.get(record.handler)
        try:
            await runtime.update(record.id, limits)
        except RuntimeFailed:
            # Some runtimes leave what they had set before the one that the kernel refused.
            with contextlib.suppress(RuntimeFailed):
                await runtime.update(record.id, restoring(config.resources, limits))
            raise
    if resources.oom_score_adj is not None:
        await asyncio.to_thread(_set_oom_score, record, resources.oom_score_adj)
    merged = replace(config, resources=merge(config.resources, resources))
    parts.layout.save_container_live(record.id, replace(live, config=merged))


def runtime_resources(resources: Resources) -> LinuxResources:
    """What ``update`` of the runtime is told: only what is set, and what this host can limit."""
    limits, warnings = build_resources(resources, detect_host().limits)
    for warning in warnings:
        log.warning("updating resources: %s", warning)
    return limits


def restoring(old: Resources, tried: LinuxResources) -> LinuxResources:
    """The ``old`` limits for all that was ``tried``; what was not limited is not, again."""
    before = runtime_resources(old)
    memory, cpu = before.memory or Memory(), before.cpu or Cpu()
    if tried.memory is not None:
        memory = replace(memory, limit=memory.limit or -1, swap=memory.swap or memory.limit or -1)
    if tried.cpu is not None and tried.cpu.quota is not None:
        cpu = replace(cpu, quota=cpu.quota or -1)
    return replace(
        before,
        memory=memory if tried.memory is not None else None,
        cpu=cpu if tried.cpu is not None and cpu != Cpu() else None,
    )


def _check_memory(record: ContainerRecord, memory: Memory | None) -> None:
    """A limit below what is used would, on cgroup v2, kill the container in place of an error."""
    if memory is None or memory.limit is None or memory.limit <= 0:
        return
    cgroup = Cgroup(record.cgroup)
    try:
        if cgroup.hierarchies.unified:
            used = int(cgroup.read("memory", "memory.current"))
        else:
            used = int(cgroup.read("memory", "memory.usage_in_bytes"))
    except (CgroupFailed, ValueError):
        return  # the runtime will say
    if memory.limit < used:
        raise InvalidPodConfig(
            f"updating container {record.config.name}: it uses {used} bytes of memory, more than"
            f" the new limit of {memory.limit}",
            hint="ask again when it uses less",
        )


def recorded(limits: LinuxResources) -> Resources:
    """The limits that a container's status can show."""
    memory, cpu = limits.memory or Memory(), limits.cpu or Cpu()
    return Resources(
        cpu_period=cpu.period or 0,
        cpu_quota=cpu.quota or 0,
        cpu_shares=cpu.shares or 0,
        cpuset_cpus=cpu.cpus,
        cpuset_mems=cpu.mems,
        memory_limit=memory.limit or 0,
        memory_swap_limit=memory.swap or 0,
        hugepage_limits=tuple(
            model_common.HugepageLimit(page_size=item.page_size, limit=item.limit)
            for item in limits.hugepage_limits
        ),
        unified=limits.unified,
    )


def overlay(old: LinuxResources, new: LinuxResources) -> LinuxResources:
    """``old`` with the memory, cpu, hugepage and unified limits that are set in ``new``."""
    pages = {item.page_size: item for item in (*old.hugepage_limits, *new.hugepage_limits)}
    return replace(
        old,
        memory=_over(old.memory, new.memory),
        cpu=_over(old.cpu, new.cpu),
        hugepage_limits=tuple(pages.values()),
        unified={**old.unified, **new.unified},
    )


def _over(old: Part | None, new: Part | None) -> Part | None:
    if old is None or new is None:
        return new or old
    given = {name: value for name, value in asdict(new).items() if value not in (None, "")}
    return replace(old, **given)


def merge(old: Resources, new: Resources) -> Resources:
    """``old`` with every field that is set in ``new``."""
    unset = Resources()
    return replace(
        old,
        **{name: value for name, value in asdict(new).items() if value != getattr(unset, name)},
    )


def _set_oom_score(record: ContainerRecord, score: int) -> None:
    """Living processes keep their own score otherwise; what ends meanwhile, or is refused, not."""
    for pid in Cgroup(record.cgroup).pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(score))
