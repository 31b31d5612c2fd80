"""A container's requests and limits as the numbers of its cgroup, by the kubelet's rules."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from decimal import Decimal

from trilby.pods.manifest import schema
from trilby.pods.manifest.quantity import milli, parse_quantity, whole
from trilby.pods.model_common import HugepageLimit, Resources

CPU_PERIOD = 100_000
MIN_SHARES = 2
MAX_SHARES = 262_144
MIN_QUOTA = 1_000


class QosClass(enum.StrEnum):
    """How a pod is treated when memory is short (Kubernetes' quality of service classes)."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


def qos_class(spec: schema.PodSpec) -> QosClass:
    """The class of a pod, from what all of its containers ask for."""
    pairs = [
        (_amount(each.resources.limits, name), _amount(requests(each), name))
        for each in (*spec.init_containers, *spec.containers)
        for name in ("cpu", "memory")
    ]
    if not any(limit or wanted for limit, wanted in pairs):
        return QosClass.BEST_EFFORT
    if all(limit and limit == wanted for limit, wanted in pairs):
        return QosClass.GUARANTEED
    return QosClass.BURSTABLE


def requests(container: schema.Container) -> dict[str, schema.Quantity]:
    """What a container requests; a limit without a request is one."""
    return {**container.resources.limits, **container.resources.requests}


def container_resources(
    container: schema.Container, qos: QosClass, memory_capacity: int
) -> Resources:
    """The cgroup's numbers; ``memory_capacity`` is the machine's memory in bytes."""
    limits, wanted = container.resources.limits, requests(container)
    quota = _quota(_amount(limits, "cpu"))
    return Resources(
        cpu_period=CPU_PERIOD if quota else 0,
        cpu_quota=quota,
        cpu_shares=_shares(_amount(wanted, "cpu")),
        memory_limit=_bytes(limits, "memory"),
        oom_score_adj=_oom_score(qos, _bytes(wanted, "memory"), memory_capacity),
        hugepage_limits=tuple(
            HugepageLimit(page_size=_page_size(name), limit=_bytes(limits, name))
            for name in sorted(limits)
            if name.startswith("hugepages-")
        ),
    )


def pod_resources(spec: schema.PodSpec) -> Resources:
    """What the whole pod gets: a limit only where every container has one."""

    def limit(name: str) -> Decimal:
        each = {
            container.name: _amount(container.resources.limits, name)
            for container in (*spec.init_containers, *spec.containers)
        }
        return _peak(spec, each) if all(each.values()) else Decimal(0)

    wanted = {
        container.name: _amount(requests(container), "cpu")
        for container in (*spec.init_containers, *spec.containers)
    }
    quota = _quota(limit("cpu"))
    return Resources(
        cpu_period=CPU_PERIOD if quota else 0,
        cpu_quota=quota,
        cpu_shares=_shares(_peak(spec, wanted)),
        memory_limit=whole(limit("memory")),
    )


def resource_field(container: schema.Container, selector: schema.ResourceFieldSelector) -> str:
    """The value of a ``resourceFieldRef``: rounded up to its divisor.

    Raises:
        ValueError: for a resource that is not limits.* or requests.* of cpu or memory.
    """
    kind, _, name = selector.resource.partition(".")
    tables: dict[str, Mapping[str, schema.Quantity]] = {
        "limits": container.resources.limits,
        "requests": requests(container),
    }
    if kind not in tables or name not in ("cpu", "memory", "ephemeral-storage"):
        raise ValueError(f"no resource {selector.resource!r}; write for example limits.memory")
    value = _amount(tables[kind], name)
    if not value and kind == "limits":
        value = _capacity(name)
    divisor = parse_quantity(selector.divisor) or Decimal(1)
    return str(whole(value / divisor))


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _capacity(name: str) -> Decimal:
    import os

    if name == "cpu":
        return Decimal(os.cpu_count() or 1)
    return Decimal(machine_memory()) if name == "memory" else Decimal(0)


def _peak(spec: schema.PodSpec, need: Mapping[str, Decimal]) -> Decimal:
    """The most that is needed at one time, by container: init containers run one by one.

    Sidecars run on beside the init containers after them and beside all others.
    """
    sidecars = most = Decimal(0)
    for container in spec.init_containers:
        if container.restart_policy == "Always":
            sidecars += need[container.name]
            most = max(most, sidecars)
        else:
            most = max(most, sidecars + need[container.name])
    return max(most, sidecars + sum(need[each.name] for each in spec.containers))


def _quota(cpus: Decimal) -> int:
    return max(milli(cpus) * CPU_PERIOD // 1000, MIN_QUOTA) if cpus else 0


def _shares(cpus: Decimal) -> int:
    return min(max(milli(cpus) * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def _amount(table: Mapping[str, schema.Quantity], name: str) -> Decimal:
    """0 stands for nothing asked, as in Kubernetes."""
    return parse_quantity(table[name]) if name in table else Decimal(0)


def _bytes(table: Mapping[str, schema.Quantity], name: str) -> int:
    return whole(_amount(table, name))


def _page_size(name: str) -> str:
    """``hugepages-2Mi`` as the kernel writes it: ``2MB``."""
    return name.removeprefix("hugepages-").removesuffix("i") + "B"


def _oom_score(qos: QosClass, request: int, capacity: int) -> int:
    if qos is QosClass.GUARANTEED:
        return -997
    if qos is QosClass.BEST_EFFORT:
        return 1000
    return min(max(1000 - 1000 * request // capacity, 3), 999)


def sum_memory_limits(containers: Iterable[schema.Container]) -> int:
    """Bytes that all containers together may use, 0 if one has no limit."""
    limits = [_bytes(each.resources.limits, "memory") for each in containers]
    return sum(limits) if all(limits) else 0
