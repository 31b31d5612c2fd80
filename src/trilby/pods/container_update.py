"""Changing the limits of a living container."""

from __future__ import annotations

import asyncio
import contextlib

from msgspec.structs import asdict, replace

from trilby.oci.runtime import Cpu, HugepageLimit, LinuxResources, Memory
from trilby.pods.engine_parts import Parts
from trilby.pods.errors import WrongContainerState
from trilby.pods.model_common import Resources
from trilby.pods.state import ContainerRecord
from trilby.pods.state_locks import locked
from trilby.pods.state_status import container_exit
from trilby.system.cgroups import Cgroup


async def update_resources(parts: Parts, container_id: str, resources: Resources) -> None:
    """See Engine.update_resources."""
    sandbox_id, container_id = parts.layout.find_container(container_id)
    async with locked(parts.layout.lock(container_id)):
        record = parts.layout.load_container(sandbox_id, container_id)
        live = parts.layout.load_container_live(container_id)
        if live is None or container_exit(parts.layout, record, live):
            raise WrongContainerState(
                f"updating container {record.config.name} ({container_id[:12]}): it has ended"
            )
        limits = runtime_resources(resources)
        if limits != LinuxResources():
            await parts.runtimes.get(record.handler).update(container_id, limits)
        if resources.oom_score_adj is not None:
            await asyncio.to_thread(_set_oom_score, record, resources.oom_score_adj)
        config = live.config or record.config
        merged = replace(config, resources=merge(config.resources, resources))
        parts.layout.save_container_live(container_id, replace(live, config=merged))


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
