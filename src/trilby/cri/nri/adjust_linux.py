"""The part of plugins' adjustments that is the `linux` of an OCI config, but for its limits."""

from __future__ import annotations

import os
from collections.abc import Iterable

from msgspec.structs import replace

from trilby.cri.nri.errors import InvalidAdjustment
from trilby.cri.nri.marks import edited, name_of, removed
from trilby.cri.nri.owners import Claims, Field
from trilby.cri.nri.proto import adjustment_pb2, pod_pb2
from trilby.oci.runtime import (
    Device,
    DeviceRule,
    IntelRdt,
    Linux,
    LinuxResources,
    MemoryPolicy,
    Namespace,
    NetDevice,
    Seccomp,
    SeccompArg,
    SeccompSyscall,
)

__all__ = ["adjust_linux"]

#: Where the kernel shows resource control, if the processor has it and it is mounted.
RESCTRL = "/sys/fs/resctrl/schemata"


def adjust_linux(
    linux: Linux, wanted: adjustment_pb2.LinuxContainerAdjustment, claims: Claims
) -> tuple[Linux, tuple[str, ...]]:
    """Also warnings. Raises AdjustmentConflict, InvalidAdjustment."""
    linux = _devices(linux, wanted.devices, claims)
    linux = replace(
        linux,
        namespaces=_namespaces(linux.namespaces, wanted.namespaces, claims),
        sysctl=edited(linux.sysctl, wanted.sysctl, Field.SYSCTL, claims),
        net_devices=_net_devices(linux.net_devices, wanted, claims),
    )
    if wanted.cgroups_path:
        claims.claim(Field.CGROUPS_PATH)
        linux = replace(linux, cgroups_path=wanted.cgroups_path)
    if wanted.HasField("seccomp_policy"):
        claims.claim(Field.SECCOMP_POLICY)
        linux = replace(linux, seccomp=_seccomp(wanted.seccomp_policy))
    if wanted.HasField("memory_policy"):
        claims.claim(Field.MEMORY_POLICY)
        policy = MemoryPolicy(
            mode=name_of(adjustment_pb2.MpolMode, wanted.memory_policy.mode),
            nodes=wanted.memory_policy.nodes,
            flags=tuple(
                name_of(adjustment_pb2.MpolFlag, flag) for flag in wanted.memory_policy.flags
            ),
        )
        linux = replace(linux, memory_policy=policy)
    return _rdt(linux, wanted, claims)


def _devices(linux: Linux, wanted: Iterable[pod_pb2.LinuxDevice], claims: Claims) -> Linux:
    """Nodes by their paths; who gets a node may use it."""
    nodes = {node.path: node for node in linux.devices}
    resources = linux.resources or LinuxResources()
    rules = list(resources.devices)
    items = list(wanted)
    for item in items:
        path, away = removed(item.path)
        if away:
            claims.clear(Field.DEVICES, path)
            nodes.pop(path, None)
    for item in items:
        if removed(item.path)[1]:
            continue
        if item.type not in ("c", "b", "u", "p") or not item.path.startswith("/"):
            raise InvalidAdjustment(
                f"{claims.plugin} adds the device {item.path!r} of type {item.type!r}"
            )
        claims.claim(Field.DEVICES, item.path)
        nodes[item.path] = Device(
            path=item.path,
            type=item.type,
            major=item.major,
            minor=item.minor,
            file_mode=item.file_mode.value if item.HasField("file_mode") else None,
            uid=item.uid.value if item.HasField("uid") else None,
            gid=item.gid.value if item.HasField("gid") else None,
        )
        if item.type != "p":
            kind = "c" if item.type == "u" else item.type
            rules.append(DeviceRule(True, kind, item.major, item.minor, _access(item)))
    if not items:
        return linux
    return replace(
        linux,
        devices=tuple(nodes.values()),
        resources=replace(resources, devices=tuple(rules)),
    )


def _access(item: pod_pb2.LinuxDevice) -> str:
    """What anybody may do with the node by its mode; everything if it has none."""
    if not item.HasField("file_mode"):
        return "rwm"
    mode = item.file_mode.value
    return ("r" if mode & 0o444 else "") + ("w" if mode & 0o222 else "") + "m"


def _namespaces(
    namespaces: tuple[Namespace, ...], wanted: Iterable[pod_pb2.LinuxNamespace], claims: Claims
) -> tuple[Namespace, ...]:
    known = {item.type: item for item in namespaces}
    for item in wanted:
        kind, away = removed(item.type)
        claims.claim(Field.NAMESPACE, kind)
        if away:
            known.pop(kind, None)
        else:
            known[kind] = Namespace(kind, item.path)
    return tuple(known.values())


def _net_devices(
    devices: dict[str, NetDevice],
    wanted: adjustment_pb2.LinuxContainerAdjustment,
    claims: Claims,
) -> dict[str, NetDevice]:
    names = {name: device.name for name, device in devices.items()}
    asked = {name: device.name for name, device in wanted.net_devices.items()}
    changed = edited(names, asked, Field.NET_DEVICES, claims)
    return {name: NetDevice(inside) for name, inside in changed.items()}


def _seccomp(wanted: pod_pb2.LinuxSeccomp) -> Seccomp:
    return Seccomp(
        default_action=wanted.default_action,
        default_errno_ret=(
            wanted.default_errno.value if wanted.HasField("default_errno") else None
        ),
        architectures=tuple(wanted.architectures),
        flags=tuple(wanted.flags),
        listener_path=wanted.listener_path,
        listener_metadata=wanted.listener_metadata,
        syscalls=tuple(
            SeccompSyscall(
                names=tuple(item.names),
                action=item.action,
                errno_ret=item.errno_ret.value if item.HasField("errno_ret") else None,
                args=tuple(
                    SeccompArg(arg.index, arg.value, arg.op, arg.value_two) for arg in item.args
                ),
            )
            for item in wanted.syscalls
        ),
    )


def _rdt(
    linux: Linux, wanted: adjustment_pb2.LinuxContainerAdjustment, claims: Claims
) -> tuple[Linux, tuple[str, ...]]:
    """Classes of service of the processor's caches; block I/O classes have no definitions here."""
    warnings = []
    rdt, asked = linux.intel_rdt, wanted.rdt
    if asked.remove:
        for field in (Field.RDT_CLOS_ID, Field.RDT_SCHEMATA, Field.RDT_ENABLE_MONITORING):
            claims.clear(field)
        rdt = None
    if wanted.resources.HasField("rdt_class"):
        name = wanted.resources.rdt_class.value
        rdt = replace(rdt or IntelRdt(), clos_id=name) if name else None
    if asked.HasField("clos_id"):
        claims.claim(Field.RDT_CLOS_ID)
        rdt = replace(rdt or IntelRdt(), clos_id=asked.clos_id.value)
    if asked.HasField("schemata"):
        claims.claim(Field.RDT_SCHEMATA)
        rdt = replace(rdt or IntelRdt(), schemata=tuple(asked.schemata.value))
    if asked.HasField("enable_monitoring"):
        claims.claim(Field.RDT_ENABLE_MONITORING)
        rdt = replace(rdt or IntelRdt(), enable_monitoring=asked.enable_monitoring.value)
    if rdt is not None and rdt != linux.intel_rdt and not os.path.exists(RESCTRL):
        warnings.append("RDT class left out: this host has no resctrl")
        rdt = linux.intel_rdt
    if wanted.resources.blockio_class.value:
        name = wanted.resources.blockio_class.value
        warnings.append(f"block I/O class {name} left out: there is no definition of it")
    return replace(linux, intel_rdt=rdt), tuple(warnings)
