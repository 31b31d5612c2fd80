"""What metrics tell of a cgroup besides cgroup_stats: throttling, block I/O, huge pages, limits."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from trilby.system.cgroup_mounts import Hierarchies
from trilby.system.cgroup_stats import CgroupStats, field, read_number, read_optional, read_stats
from trilby.system.errors import CgroupFailed

#: Version 2's names of counters in io.stat: what they count, and whether it is bytes.
_IO_V2: Final = {
    b"rbytes": ("read", True),
    b"wbytes": ("write", True),
    b"rios": ("read", False),
    b"wios": ("write", False),
}
#: Version 1's files of I/O, by scheduler: BFQ, CFQ, and what the throttling layer counts.
_IO_V1: Final = (
    ("blkio.bfq.io_service_bytes_recursive", "blkio.bfq.io_serviced_recursive"),
    ("blkio.io_service_bytes_recursive", "blkio.io_serviced_recursive"),
    ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"),
    ("blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced"),
)


class CpuDetails(msgspec.Struct, frozen=True):
    """Processor time in ns, and the throttling by a quota."""

    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class MemoryDetails(msgspec.Struct, frozen=True):
    """Bytes; how often the limit was hit, and how many processes were killed for it."""

    kernel: int = 0
    max_usage: int = 0
    limit_hits: int = 0
    oom_kills: int = 0


class PidStats(msgspec.Struct, frozen=True):
    """Threads; ``limit`` 0 means none."""

    current: int = 0
    limit: int = 0


class DeviceIo(msgspec.Struct, frozen=True):
    """Block I/O on one device; ``operation`` is read, write, sync, async, ..."""

    major: int
    minor: int
    operation: str
    count: int


class HugepageUsage(msgspec.Struct, frozen=True):
    """Bytes in pages of ``page_size``, in the kernel's spelling such as ``2MB``."""

    page_size: str
    usage: int
    max_usage: int


class CgroupDetails(msgspec.Struct, frozen=True):
    """All of a cgroup; ``io_bytes`` and ``io_operations`` are since it was made."""

    stats: CgroupStats
    cpu: CpuDetails | None = None
    memory: MemoryDetails | None = None
    pids: PidStats | None = None
    io_bytes: tuple[DeviceIo, ...] = ()
    io_operations: tuple[DeviceIo, ...] = ()
    hugepages: tuple[HugepageUsage, ...] = ()


def read_details(hierarchies: Hierarchies, path: str) -> CgroupDetails:
    """The usage of the cgroup at absolute ``path``; CgroupFailed when it does not exist."""
    stats = read_stats(hierarchies, path)
    end = path.rstrip("/")
    try:
        if hierarchies.unified:
            return _read_v2(hierarchies.v2 + end, stats)
        return _read_v1({name: top + end for name, top in hierarchies.v1.items()}, stats)
    except OSError as error:
        raise CgroupFailed(f"reading usage of cgroup {path}: {error}") from error


def _read_v2(folder: str, stats: CgroupStats) -> CgroupDetails:
    cpu = read_optional(f"{folder}/cpu.stat")
    io = read_optional(f"{folder}/io.stat")
    return CgroupDetails(
        stats,
        CpuDetails(
            user=field(cpu, b"user_usec") * 1000,
            system=field(cpu, b"system_usec") * 1000,
            periods=field(cpu, b"nr_periods"),
            throttled_periods=field(cpu, b"nr_throttled"),
            throttled_time=field(cpu, b"throttled_usec") * 1000,
        ),
        _memory_v2(folder) if stats.memory else None,
        _pids(folder),
        parse_io_v2(io, in_bytes=True),
        parse_io_v2(io, in_bytes=False),
        _hugepages(folder, usage=".current", most=""),
    )


def _memory_v2(folder: str) -> MemoryDetails:
    events = read_optional(f"{folder}/memory.events")
    return MemoryDetails(
        kernel=field(read_optional(f"{folder}/memory.stat"), b"kernel"),
        max_usage=read_number(f"{folder}/memory.peak") or 0,
        limit_hits=field(events, b"max"),
        oom_kills=field(events, b"oom_kill"),
    )


def _read_v1(folders: dict[str, str], stats: CgroupStats) -> CgroupDetails:
    io_bytes, io_operations = _io_v1(folders.get("blkio"))
    hugetlb = folders.get("hugetlb")
    return CgroupDetails(
        stats,
        _cpu_v1(folders) if stats.cpu else None,
        _memory_v1(folders["memory"]) if stats.memory else None,
        _pids(folders.get("pids")),
        io_bytes,
        io_operations,
        _hugepages(hugetlb, usage=".usage_in_bytes", most=".max_usage_in_bytes") if hugetlb else (),
    )


def _cpu_v1(folders: dict[str, str]) -> CpuDetails:
    # User and system time are clock ticks: "user 12\nsystem 3".
    ticks = read_optional(f"{folders['cpuacct']}/cpuacct.stat")
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    quota = read_optional(f"{folders['cpu']}/cpu.stat") if "cpu" in folders else b""
    return CpuDetails(
        user=field(ticks, b"user") * tick,
        system=field(ticks, b"system") * tick,
        periods=field(quota, b"nr_periods"),
        throttled_periods=field(quota, b"nr_throttled"),
        throttled_time=field(quota, b"throttled_time"),
    )


def _memory_v1(folder: str) -> MemoryDetails:
    return MemoryDetails(
        kernel=read_number(f"{folder}/memory.kmem.usage_in_bytes") or 0,
        max_usage=read_number(f"{folder}/memory.max_usage_in_bytes") or 0,
        limit_hits=read_number(f"{folder}/memory.failcnt") or 0,
        oom_kills=field(read_optional(f"{folder}/memory.oom_control"), b"oom_kill"),
    )


def _pids(folder: str | None) -> PidStats | None:
    if folder is None or (current := read_number(f"{folder}/pids.current")) is None:
        return None
    return PidStats(current, read_number(f"{folder}/pids.max") or 0)


def _io_v1(folder: str | None) -> tuple[tuple[DeviceIo, ...], tuple[DeviceIo, ...]]:
    """From the first scheduler that has counted something."""
    for in_bytes, operations in _IO_V1 if folder else ():
        if found := parse_io_v1(read_optional(f"{folder}/{in_bytes}")):
            return found, parse_io_v1(read_optional(f"{folder}/{operations}"))
    return (), ()


def parse_io_v1(text: bytes) -> tuple[DeviceIo, ...]:
    """Lines ``8:0 Read 4096``; the sum at the end ("Total 4096") is left out, as are sums of a
    device."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3 or words[1] == b"Total":
            continue
        major, _, minor = words[0].partition(b":")
        found.append(DeviceIo(int(major), int(minor), words[1].decode().lower(), int(words[2])))
    return tuple(found)


def parse_io_v2(text: bytes, *, in_bytes: bool) -> tuple[DeviceIo, ...]:
    """Lines ``8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0``, of bytes or of counts."""
    found = []
    for line in text.splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(b":")
        if not (major.isdigit() and minor.isdigit()):
            continue  # a device without a number says its name
        for pair in pairs:
            name, _, value = pair.partition(b"=")
            operation, is_bytes = _IO_V2.get(name, ("", False))
            if operation and is_bytes is in_bytes:
                found.append(DeviceIo(int(major), int(minor), operation, int(value)))
    return tuple(found)


def _hugepages(folder: str, *, usage: str, most: str) -> tuple[HugepageUsage, ...]:
    """``hugetlb.<size><usage>``; version 2 does not say what the most was."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return ()
    found = []
    for name in sorted(names):
        size = name.removeprefix("hugetlb.").removesuffix(usage)
        # Reservations have files of their own: hugetlb.2MB.rsvd.current.
        if name != f"hugetlb.{size}{usage}" or "." in size:
            continue
        used = read_number(f"{folder}/{name}") or 0
        peak = read_number(f"{folder}/hugetlb.{size}{most}") if most else None
        found.append(HugepageUsage(size, used, used if peak is None else peak))
    return tuple(found)
