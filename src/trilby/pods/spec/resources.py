"""Cgroup limits: CRI's resources as the OCI runtime's, for cgroup v1 and v2."""

from __future__ import annotations

from trilby.oci.runtime import Cpu, HugepageLimit, LinuxResources, Memory, Pids
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import Resources
from trilby.system.limits import HostLimits


def build_resources(
    wanted: Resources,
    host: HostLimits,
    *,
    pids_limit: int = -1,
    min_memory: int = 0,
    scope: bool = False,
) -> tuple[LinuxResources, tuple[str, ...]]:
    """What the host can limit, and a warning for each limit that it cannot.

    Also for ``update``. Without device rules. The runtime converts v1's shares and swap for v2.
    ``pids_limit`` <= 0: none. ``min_memory`` in bytes: a lower limit raises ``InvalidPodConfig``,
    because the runtime's own start would not fit in it. ``scope``: the container gets one of
    systemd's, which has systemd's default limit of tasks unless it is told that there is none.
    """
    warnings: list[str] = []
    resources = LinuxResources(
        memory=_memory(wanted, host, min_memory, warnings),
        cpu=_cpu(wanted, host, warnings),
        pids=_pids(pids_limit, host, scope, warnings),
        hugepage_limits=_hugepages(wanted, host, warnings),
        unified=_unified(wanted, host, warnings),
    )
    return resources, tuple(warnings)


def _memory(
    wanted: Resources, host: HostLimits, min_memory: int, warnings: list[str]
) -> Memory | None:
    limit = wanted.memory_limit
    if not limit and not wanted.memory_swap_limit:
        return None
    if "memory" not in host.controllers:
        warnings.append("memory limit left out: this host has no memory controller")
        return None
    if 0 < limit < min_memory:
        raise InvalidPodConfig(
            f"the memory limit of {limit} bytes is below the minimum of {min_memory}",
            hint="raise the limit, or lower container_min_memory",
        )
    return Memory(limit=limit or None, swap=_swap(wanted, host, warnings))


def _swap(wanted: Resources, host: HostLimits, warnings: list[str]) -> int | None:
    """Memory and swap together; not given means no swap beyond the memory limit."""
    asked = wanted.memory_swap_limit
    if asked > 0 and asked < wanted.memory_limit:
        raise InvalidPodConfig(
            f"the swap limit of {asked} bytes is below the memory limit of {wanted.memory_limit}"
        )
    swap = asked or wanted.memory_limit
    if not swap or host.swap_limits:
        return swap or None
    if asked and asked != wanted.memory_limit:
        warnings.append("swap limit left out: this host does not account swap")
    return None


def _cpu(wanted: Resources, host: HostLimits, warnings: list[str]) -> Cpu | None:
    time = bool(wanted.cpu_shares or wanted.cpu_quota or wanted.cpu_period)
    sets = bool(wanted.cpuset_cpus or wanted.cpuset_mems)
    if time and "cpu" not in host.controllers:
        warnings.append("cpu limits left out: this host has no cpu controller")
        time = False
    if sets and "cpuset" not in host.controllers:
        warnings.append("cpusets left out: this host has no cpuset controller")
        sets = False
    if not time and not sets:
        return None
    return Cpu(
        shares=(wanted.cpu_shares or None) if time else None,
        quota=(wanted.cpu_quota or None) if time else None,
        period=(wanted.cpu_period or None) if time else None,
        cpus=wanted.cpuset_cpus if sets else "",
        mems=wanted.cpuset_mems if sets else "",
    )


def _pids(limit: int, host: HostLimits, scope: bool, warnings: list[str]) -> Pids | None:
    if limit <= 0:
        return Pids(-1) if scope and "pids" in host.controllers else None
    if "pids" not in host.controllers:
        warnings.append("pids limit left out: this host has no pids controller")
        return None
    return Pids(limit)


def _hugepages(
    wanted: Resources, host: HostLimits, warnings: list[str]
) -> tuple[HugepageLimit, ...]:
    """Kubelets send a zero limit for every size; without a controller it changes nothing."""
    limits = []
    for item in wanted.hugepage_limits:
        if item.page_size in host.hugepage_sizes:
            limits.append(HugepageLimit(item.page_size, item.limit))
        elif item.limit:
            warnings.append(f"limit of {item.page_size} hugepages left out: this host cannot")
    return tuple(limits)


def _unified(wanted: Resources, host: HostLimits, warnings: list[str]) -> dict[str, str]:
    if wanted.unified and not host.unified:
        names = ", ".join(sorted(wanted.unified))
        warnings.append(f"unified limits left out: this host has cgroup v1: {names}")
        return {}
    return dict(wanted.unified)
