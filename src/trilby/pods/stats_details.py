"""What metrics of pods are made of: more than statistics, for those who want to see everything."""

from __future__ import annotations

import functools
import os
from collections.abc import Set
from typing import Final

import msgspec

from trilby.pods.model_status import FilesystemStats, InterfaceStats
from trilby.pods.state import ContainerLive, ContainerRecord, SandboxRecord
from trilby.pods.stats import Live, Sampler
from trilby.pods.stats_network import pod_interfaces
from trilby.system.cgroup_details import CgroupDetails, read_details
from trilby.system.cgroup_stats import processes
from trilby.system.cgroups import detect
from trilby.system.errors import CgroupFailed
from trilby.system.mount_table import list_mounts

#: What is read only when it is wanted, because it takes more than a few small reads.
NETWORK: Final = "network"
PROCESSES: Final = "processes"
DISK: Final = "disk"


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Of all processes of a container; ``nofile`` is the first one's soft limit, None for none."""

    processes: int
    descriptors: int
    sockets: int
    nofile: int | None


class DiskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The file system that a writable layer is on, and how much of it the layer takes."""

    device: str
    usage: int
    limit: int
    inodes_total: int
    inodes_free: int


class ContainerDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One created or running container."""

    record: ContainerRecord
    live: ContainerLive
    cgroup: CgroupDetails
    processes: ProcessFacts | None = None
    disk: DiskFacts | None = None


class PodDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One ready sandbox; no interfaces on the host's network."""

    record: SandboxRecord
    interfaces: tuple[InterfaceStats, ...]
    containers: tuple[ContainerDetails, ...]


def read_pods(sampler: Sampler, wanted: Set[str]) -> list[PodDetails]:
    """All ready sandboxes. ``wanted`` has NETWORK, PROCESSES, DISK or less. Blocking."""
    with sampler.lock:
        return [_pod(sampler, record, wanted) for record in sampler.ready_sandboxes()]


def _pod(sampler: Sampler, record: SandboxRecord, wanted: Set[str]) -> PodDetails:
    live = list(sampler.live_containers(record.id))
    interfaces: tuple[InterfaceStats, ...] = ()
    if NETWORK in wanted:
        pids = sampler.interfaces_pids(record.id, live)
        interfaces = pod_interfaces(sampler.network_pin(record.id), pids)
    found = (_container(sampler, one, wanted) for one in live)
    return PodDetails(
        record=record,
        interfaces=interfaces,
        containers=tuple(one for one in found if one is not None),
    )


def _container(sampler: Sampler, one: Live, wanted: Set[str]) -> ContainerDetails | None:
    try:
        cgroup = read_details(detect(), one.record.cgroup)
    except CgroupFailed:
        return None  # it has just ended
    return ContainerDetails(
        record=one.record,
        live=one.live,
        cgroup=cgroup,
        processes=_processes(one) if PROCESSES in wanted else None,
        disk=_disk(sampler.layers.usage(one.record.id)) if DISK in wanted else None,
    )


def _processes(one: Live) -> ProcessFacts:
    pids = processes(detect(), one.record.cgroup) or []
    descriptors = sockets = 0
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        try:
            numbers = os.listdir(folder)
        except OSError:
            continue
        descriptors += len(numbers)
        for number in numbers:
            try:
                sockets += os.readlink(f"{folder}/{number}").startswith("socket:")
            except OSError:
                continue  # closed meanwhile
    return ProcessFacts(
        processes=len(pids),
        descriptors=descriptors,
        sockets=sockets,
        nofile=_open_files(one.live.pid),
    )


def _open_files(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            return parse_open_files(file.read())
    except OSError:
        return None


def parse_open_files(text: bytes) -> int | None:
    """The soft limit of open files in /proc/<pid>/limits; None when there is none."""
    _, found, rest = text.partition(b"Max open files")
    value = rest.split(None, 1)[0] if found and rest.strip() else b""
    return int(value) if value.isdigit() else None


def _disk(layer: FilesystemStats | None) -> DiskFacts | None:
    if layer is None:
        return None
    try:
        whole = os.statvfs(layer.mountpoint)
        device = os.stat(layer.mountpoint).st_dev
    except OSError:
        return None
    return DiskFacts(
        device=_source(device),
        usage=layer.used_bytes,
        limit=whole.f_blocks * whole.f_frsize,
        inodes_total=whole.f_files,
        inodes_free=whole.f_ffree,
    )


@functools.lru_cache(maxsize=16)
def _source(device: int) -> str:
    """What a file system is mounted from, such as ``/dev/sda2``."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for mount in list_mounts():
        if mount.device == number:
            return mount.source
    return number


@functools.lru_cache(maxsize=256)
def device_name(major: int, minor: int) -> str:
    """The device file of a block device; its numbers when there is none."""
    try:
        with open(f"/sys/dev/block/{major}:{minor}/uevent", encoding="ascii") as file:
            for line in file:
                key, _, value = line.strip().partition("=")
                if key == "DEVNAME":
                    return f"/dev/{value}"
    except OSError:
        pass
    return f"{major}:{minor}"
