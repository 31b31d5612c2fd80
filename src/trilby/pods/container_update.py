"""Changing the limits of a living container."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

from msgspec.structs import asdict, replace

from trilby.oci.runtime import Cpu, HugepageLimit, LinuxResources, Memory
from trilby.pods import hooked, model_common
from trilby.pods.engine_parts import Parts
from trilby.pods.errors import WrongContainerState
from trilby.pods.model_common import Resources
from trilby.pods.state import ContainerLive, ContainerRecord
from trilby.pods.state_locks import locked
from trilby.pods.state_status import container_exit
from trilby.system.cgroups import Cgroup

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
    """Set ``limits``, and record them as ``resources``."""
    if limits != LinuxResources():
        await parts.runtimes.get(record.handler).update(record.id, limits)
    if resources.oom_score_adj is not None:
        await asyncio.to_thread(_set_oom_score, record, resources.oom_score_adj)
    config = live.config or record.config
    merged = replace(config, resources=merge(config.resources, resources))
    parts.layout.save_container_live(record.id, replace(live, config=merged))


def runtime_resources(resources: Resources) -> LinuxResources:
    """What ``update`` of the runtime is told: only what is set."""
    memory = Memory(
        limit=resources.memory_limit or None,
        swap=resources.memory_swap_limit or resources.memory_limit or None,
    )
    cpu = Cpu(
        shares=resources.cpu_shares or None,
        quota=resources.cpu_quota or None,
        period=resources.cpu_period or None,
        cpus=resources.cpuset_cpus,
        mems=resources.cpuset_mems,
    )
    return LinuxResources(
        memory=memory if memory != Memory() else None,
        cpu=cpu if cpu != Cpu() else None,
        hugepage_limits=tuple(
            HugepageLimit(page_size=item.page_size, limit=item.limit)
            for item in resources.hugepage_limits
        ),
        unified=resources.unified,
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
