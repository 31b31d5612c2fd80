"""Limits in the three forms that they have here: NRI's, the OCI's, and the engine's."""

from __future__ import annotations

from msgspec.structs import replace

from trilby.cri.nri.errors import InvalidAdjustment
from trilby.cri.nri.owners import Claims, Field
from trilby.cri.nri.proto import pod_pb2 as pb
from trilby.oci.runtime import Cpu, DeviceRule, HugepageLimit, LinuxResources, Memory, Pids
from trilby.pods.model_common import Resources
from trilby.system.limits import HostLimits

__all__ = ["claim_limits", "clamp", "from_engine", "from_oci", "overlay"]

#: Members of NRI's messages, of the OCI's, and which field that is.
_MEMORY = (
    ("limit", Field.MEM_LIMIT),
    ("reservation", Field.MEM_RESERVATION),
    ("swap", Field.MEM_SWAP_LIMIT),
    ("kernel", Field.MEM_KERNEL_LIMIT),
    ("kernel_tcp", Field.MEM_TCP_LIMIT),
    ("swappiness", Field.MEM_SWAPPINESS),
    ("disable_oom_killer", Field.MEM_DISABLE_OOM_KILLER),
    ("use_hierarchy", Field.MEM_USE_HIERARCHY),
)
_CPU = (
    ("shares", Field.CPU_SHARES),
    ("quota", Field.CPU_QUOTA),
    ("period", Field.CPU_PERIOD),
    ("realtime_runtime", Field.CPU_REALTIME_RUNTIME),
    ("realtime_period", Field.CPU_REALTIME_PERIOD),
)
_SETS = (("cpus", Field.CPUSET_CPUS), ("mems", Field.CPUSET_MEMS))


def claim_limits(wanted: pb.LinuxResources, claims: Claims) -> None:
    """Raises AdjustmentConflict when another plugin has changed one of them."""
    for name, field in _MEMORY:
        if wanted.memory.HasField(name):
            claims.claim(field)
    for name, field in _CPU:
        if wanted.cpu.HasField(name):
            claims.claim(field)
    for name, field in _SETS:
        if getattr(wanted.cpu, name):
            claims.claim(field)
    for item in wanted.hugepage_limits:
        claims.claim(Field.HUGEPAGE_LIMITS, item.page_size)
    for key in wanted.unified:
        claims.claim(Field.CGROUPS_UNIFIED, key)
    for name, field in (
        ("blockio_class", Field.BLOCKIO_CLASS),
        ("rdt_class", Field.RDT_CLASS),
        ("pids", Field.PIDS_LIMIT),
    ):
        if wanted.HasField(name):
            claims.claim(field)


def overlay(base: LinuxResources, wanted: pb.LinuxResources) -> LinuxResources:
    """``base`` with everything that is given in ``wanted``; a memory limit is one of swap too."""
    memory, cpu = base.memory or Memory(), base.cpu or Cpu()
    changes = _given(wanted.memory, [name for name, _ in _MEMORY])
    if changes.get("limit") and "swap" not in changes:
        changes["swap"] = changes["limit"]
    memory = replace(memory, **changes)
    cpu = replace(cpu, **_given(wanted.cpu, [name for name, _ in _CPU]))
    sets = {name: getattr(wanted.cpu, name) for name, _ in _SETS if getattr(wanted.cpu, name)}
    cpu = replace(cpu, **sets)
    pages = {item.page_size: item for item in base.hugepage_limits}
    for item in wanted.hugepage_limits:
        pages[item.page_size] = HugepageLimit(item.page_size, item.limit)
    return replace(
        base,
        memory=memory if memory != Memory() else None,
        cpu=cpu if cpu != Cpu() else None,
        pids=Pids(wanted.pids.limit) if wanted.HasField("pids") else base.pids,
        hugepage_limits=tuple(pages.values()),
        unified={**base.unified, **wanted.unified},
        devices=(*base.devices, *map(_rule, wanted.devices)),
    )


def clamp(
    limits: LinuxResources, host: HostLimits, min_memory: int = 0
) -> tuple[LinuxResources, tuple[str, ...]]:
    """What the host can limit, and a warning for each that it cannot.

    Raises InvalidAdjustment when no program could start with so little memory.
    """
    warnings = []
    memory, cpu = limits.memory, limits.cpu
    if memory is not None and memory.limit is not None and 0 < memory.limit < min_memory:
        raise InvalidAdjustment(
            f"the memory limit of {memory.limit} bytes is below the minimum of {min_memory}"
        )
    if memory is not None and "memory" not in host.controllers:
        memory = None
        warnings.append("memory limit left out: this host has no memory controller")
    if memory is not None and memory.swap is not None and not host.swap_limits:
        if memory.swap != memory.limit:
            warnings.append("swap limit left out: this host does not account swap")
        memory = replace(memory, swap=None)
    pages, lost = host.clamp_hugepages(item.page_size for item in limits.hugepage_limits)
    if lost:
        warnings.append(lost)
    unified = limits.unified
    if unified and not host.unified:
        warnings.append(f"unified limits left out: this host has cgroup v1: {', '.join(unified)}")
        unified = {}
    clamped = replace(
        limits,
        memory=memory if memory != Memory() else None,
        cpu=cpu if cpu != Cpu() else None,
        hugepage_limits=tuple(item for item in limits.hugepage_limits if item.page_size in pages),
        unified=unified,
    )
    return clamped, tuple(warnings)


def from_oci(limits: LinuxResources | None) -> pb.LinuxResources:
    """As plugins are told of a container's limits."""
    told = pb.LinuxResources()
    if limits is None:
        return told
    memory, cpu = limits.memory or Memory(), limits.cpu or Cpu()
    _set(told.memory, memory, [name for name, _ in _MEMORY])
    _set(told.cpu, cpu, [name for name, _ in _CPU])
    told.cpu.cpus, told.cpu.mems = cpu.cpus, cpu.mems
    for item in limits.hugepage_limits:
        told.hugepage_limits.add(page_size=item.page_size, limit=item.limit)
    told.unified.update(limits.unified)
    for rule in limits.devices:
        device = told.devices.add(allow=rule.allow, type=rule.type, access=rule.access)
        _set(device, rule, ("major", "minor"))
    if limits.pids is not None:
        told.pids.limit = limits.pids.limit
    return told


def from_engine(resources: Resources | None) -> pb.LinuxResources | None:
    """As plugins are told of what a caller of the CRI wants; what is zero is not given."""
    if resources is None:
        return None
    limits = LinuxResources(
        memory=Memory(
            limit=resources.memory_limit or None, swap=resources.memory_swap_limit or None
        ),
        cpu=Cpu(
            shares=resources.cpu_shares or None,
            quota=resources.cpu_quota or None,
            period=resources.cpu_period or None,
            cpus=resources.cpuset_cpus,
            mems=resources.cpuset_mems,
        ),
        hugepage_limits=tuple(
            HugepageLimit(item.page_size, item.limit) for item in resources.hugepage_limits
        ),
        unified=resources.unified,
    )
    return from_oci(limits)


def _given(message: pb.LinuxMemory | pb.LinuxCPU, names: list[str]) -> dict[str, int]:
    found = {}
    for name in names:
        if message.HasField(name):
            found[name] = getattr(message, name).value
    return found


def _set(
    message: pb.LinuxMemory | pb.LinuxCPU | pb.LinuxDeviceCgroup,
    values: Memory | Cpu | DeviceRule,
    names: list[str] | tuple[str, ...],
) -> None:
    for name in names:
        value = getattr(values, name)
        if value is not None:
            field = getattr(message, name)
            field.SetInParent()
            field.value = value


def _rule(rule: pb.LinuxDeviceCgroup) -> DeviceRule:
    return DeviceRule(
        allow=rule.allow,
        type=rule.type,
        major=rule.major.value if rule.HasField("major") else None,
        minor=rule.minor.value if rule.HasField("minor") else None,
        access=rule.access,
    )
