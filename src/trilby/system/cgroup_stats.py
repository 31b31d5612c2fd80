"""What a cgroup uses: processor time, memory, processes, block I/O, pressure; few, small reads."""

from __future__ import annotations

import errno
import os
import time

import msgspec

from trilby.system.cgroup_mounts import Hierarchies
from trilby.system.errors import CgroupFailed
from trilby.system.files import Fd

# Version 1 says "no limit" as the largest page-aligned number.
_NO_LIMIT_V1 = 1 << 62


class Pressure(msgspec.Struct, frozen=True):
    """One line of pressure stall information: averages in percent, ``total`` in ns."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


class Psi(msgspec.Struct, frozen=True):
    """Pressure on some, and on all processes at once."""

    some: Pressure = Pressure()
    full: Pressure = Pressure()


class CpuStats(msgspec.Struct, frozen=True):
    """Processor time in ns; throttling as the kernel counts it."""

    usage: int = 0
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0
    psi: Psi | None = None


class MemoryStats(msgspec.Struct, frozen=True):
    """Memory in bytes. ``working_set`` is usage without inactive file pages, as the kubelet's.

    ``limit`` 0 means none; ``available`` is the limit minus the working set, 0 without one.
    ``oom_kills`` counts processes that the kernel killed for memory.
    """

    usage: int = 0
    working_set: int = 0
    rss: int = 0
    limit: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    swap_usage: int = 0
    swap_limit: int = 0
    oom_kills: int = 0
    psi: Psi | None = None

    @property
    def available(self) -> int:
        """Bytes until the limit."""
        return max(self.limit - self.working_set, 0) if self.limit else 0


class PidStats(msgspec.Struct, frozen=True):
    """Processes and threads; ``limit`` 0 means none."""

    current: int = 0
    limit: int = 0


class CgroupStats(msgspec.Struct, frozen=True):
    """All of a cgroup at ``time`` (ns since the epoch); what the host cannot tell is None."""

    time: int
    cpu: CpuStats | None = None
    memory: MemoryStats | None = None
    pids: PidStats | None = None
    io_psi: Psi | None = None


def read_stats(hierarchies: Hierarchies, path: str) -> CgroupStats:
    """The usage of the cgroup at absolute ``path``; CgroupFailed when it does not exist."""
    now = time.time_ns()
    try:
        if hierarchies.unified:
            return _read_v2(hierarchies.v2 + path.rstrip("/"), now)
        tops = hierarchies.v1
        folders = {name: top + path.rstrip("/") for name, top in tops.items()}
        return CgroupStats(now, _cpu_v1(folders), _memory_v1(folders), _pids(folders.get("pids")))
    except FileNotFoundError as error:
        raise CgroupFailed(f"reading usage of cgroup {path}: it does not exist") from error
    except OSError as error:
        raise CgroupFailed(f"reading usage of cgroup {path}: {error}") from error


def _read_v2(folder: str, now: int) -> CgroupStats:
    cpu = _read(f"{folder}/cpu.stat")
    return CgroupStats(
        now,
        CpuStats(
            usage=_field(cpu, b"usage_usec") * 1000,
            user=_field(cpu, b"user_usec") * 1000,
            system=_field(cpu, b"system_usec") * 1000,
            periods=_field(cpu, b"nr_periods"),
            throttled_periods=_field(cpu, b"nr_throttled"),
            throttled_time=_field(cpu, b"throttled_usec") * 1000,
            psi=_psi(f"{folder}/cpu.pressure"),
        ),
        _memory_v2(folder),
        _pids(folder),
        _psi(f"{folder}/io.pressure"),
    )


def _memory_v2(folder: str) -> MemoryStats | None:
    usage = _number(f"{folder}/memory.current")
    if usage is None:
        return None
    stat = _read(f"{folder}/memory.stat")
    return MemoryStats(
        usage=usage,
        working_set=max(usage - _field(stat, b"inactive_file"), 0),
        rss=_field(stat, b"anon"),
        limit=_number(f"{folder}/memory.max") or 0,
        page_faults=_field(stat, b"pgfault"),
        major_page_faults=_field(stat, b"pgmajfault"),
        swap_usage=_number(f"{folder}/memory.swap.current") or 0,
        swap_limit=_number(f"{folder}/memory.swap.max") or 0,
        oom_kills=_field(_read(f"{folder}/memory.events"), b"oom_kill"),
        psi=_psi(f"{folder}/memory.pressure"),
    )


def _cpu_v1(folders: dict[str, str]) -> CpuStats | None:
    if "cpuacct" not in folders:
        return None
    usage = int(_read(f"{folders['cpuacct']}/cpuacct.usage"))
    # User and system time there are clock ticks: "user 12\nsystem 3".
    ticks = _read(f"{folders['cpuacct']}/cpuacct.stat")
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    quota = _read_optional(f"{folders['cpu']}/cpu.stat") if "cpu" in folders else b""
    return CpuStats(
        usage=usage,
        user=_field(ticks, b"user") * tick,
        system=_field(ticks, b"system") * tick,
        periods=_field(quota, b"nr_periods"),
        throttled_periods=_field(quota, b"nr_throttled"),
        throttled_time=_field(quota, b"throttled_time"),
    )


def _memory_v1(folders: dict[str, str]) -> MemoryStats | None:
    folder = folders.get("memory")
    if folder is None:
        return None
    usage = int(_read(f"{folder}/memory.usage_in_bytes"))
    # One file has the rest: total_* counts the cgroups below, too; limits are the effective ones.
    stat = _read(f"{folder}/memory.stat")
    limit = _field(stat, b"hierarchical_memory_limit")
    swap_limit = _field(stat, b"hierarchical_memsw_limit")
    return MemoryStats(
        usage=usage,
        working_set=max(usage - _field(stat, b"total_inactive_file"), 0),
        rss=_field(stat, b"total_rss"),
        limit=0 if limit >= _NO_LIMIT_V1 else limit,
        page_faults=_field(stat, b"total_pgfault"),
        major_page_faults=_field(stat, b"total_pgmajfault"),
        swap_usage=_field(stat, b"total_swap"),
        swap_limit=0 if swap_limit >= _NO_LIMIT_V1 else max(swap_limit - limit, 0),
        oom_kills=_field(_read_optional(f"{folder}/memory.oom_control"), b"oom_kill"),
    )


def _pids(folder: str | None) -> PidStats | None:
    if folder is None or (current := _number(f"{folder}/pids.current")) is None:
        return None
    return PidStats(current, _number(f"{folder}/pids.max") or 0)


def _psi(path: str) -> Psi | None:
    text = _read_optional(path)
    if not text:
        return None
    lines: dict[str, Pressure] = {}
    for line in text.decode().splitlines():
        name, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        lines[name] = Pressure(
            float(values["avg10"]),
            float(values["avg60"]),
            float(values["avg300"]),
            int(values["total"]) * 1000,
        )
    return Psi(lines.get("some", Pressure()), lines.get("full", Pressure()))


def _field(text: bytes, name: bytes) -> int:
    """The number after ``name`` at the start of a line, 0 when there is none.

    Looked for, not parsed into a table: of 60 lines 4 are wanted.
    """
    key = name + b" "
    at = 0 if text.startswith(key) else text.find(b"\n" + key) + 1
    if at == 0 and not text.startswith(key):
        return 0
    start = at + len(key)
    end = text.find(b"\n", start)
    return int(text[start : end if end >= 0 else len(text)])


def _number(path: str) -> int | None:
    """A file with one number; None when it is missing or says "max"."""
    text = _read_optional(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: str) -> bytes:
    with Fd.open(path, os.O_RDONLY) as fd:
        return os.read(fd.number, 1 << 16)


def _read_optional(path: str) -> bytes:
    try:
        return _read(path)
    except OSError as error:
        # EOPNOTSUPP: pressure information is switched off for this cgroup.
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENOTSUP):
            return b""
        raise
