"""What a cgroup uses: processor time, memory, pressure, processes.

As few reads as will do, because it is asked for all containers every few seconds; what metrics want
besides is in cgroup_details.
"""

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
    """Processor time in ns."""

    usage: int = 0
    psi: Psi | None = None


class MemoryStats(msgspec.Struct, frozen=True):
    """Memory in bytes. ``working_set`` is usage without inactive file pages, as the kubelet's.

    ``limit`` 0 means none; ``available`` is the limit minus the working set, 0 without one.
    ``swap_limit`` is None without a limit (or without swap accounting); 0 forbids swapping.
    ``cache`` is file pages, ``mapped_file`` those of them that are mapped.
    """

    usage: int = 0
    working_set: int = 0
    rss: int = 0
    limit: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    swap_usage: int = 0
    swap_limit: int | None = None
    cache: int = 0
    mapped_file: int = 0
    psi: Psi | None = None

    @property
    def available(self) -> int:
        """Bytes until the limit."""
        return max(self.limit - self.working_set, 0) if self.limit else 0


class CgroupStats(msgspec.Struct, frozen=True):
    """All of a cgroup at ``time`` (ns since the epoch); what the host cannot tell is None."""

    time: int
    cpu: CpuStats | None = None
    memory: MemoryStats | None = None
    io_psi: Psi | None = None


def read_stats(hierarchies: Hierarchies, path: str) -> CgroupStats:
    """The usage of the cgroup at absolute ``path``; CgroupFailed when it does not exist."""
    now = time.time_ns()
    try:
        if hierarchies.unified:
            return _read_v2(hierarchies.v2 + path.rstrip("/"), now)
        end = path.rstrip("/")
        cpu, memory = hierarchies.v1.get("cpuacct"), hierarchies.v1.get("memory")
        return CgroupStats(
            now,
            CpuStats(int(read(f"{cpu}{end}/cpuacct.usage"))) if cpu else None,
            _memory_v1(memory + end) if memory else None,
        )
    except FileNotFoundError as error:
        raise CgroupFailed(f"reading usage of cgroup {path}: it does not exist") from error
    except OSError as error:
        raise CgroupFailed(f"reading usage of cgroup {path}: {error}") from error


def processes(hierarchies: Hierarchies, path: str) -> list[int] | None:
    """The processes in the cgroup and in those below it; None when it does not exist.

    One hierarchy is asked, where Cgroup.pids() asks all. ``pids.current`` would count threads.
    """
    v1 = hierarchies.v1
    top = hierarchies.v2 if hierarchies.unified else v1.get("pids") or next(iter(v1.values()))
    try:
        return _processes_below(top + path.rstrip("/"))
    except OSError:
        return None


def _processes_below(place: str) -> list[int]:
    # Some page of lines at a time is what the kernel gives.
    text = b""
    with Fd.open(f"{place}/cgroup.procs", os.O_RDONLY) as fd:
        while data := os.read(fd.number, 1 << 16):
            text += data
    found = [int(line) for line in text.split()]
    # Two links are its own; each cgroup below adds one.
    if os.stat(place).st_nlink > 2:
        with os.scandir(place) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for folder in below:
            try:
                found += _processes_below(folder)
            except OSError:
                continue  # removed meanwhile, or one of threads only
    return found


def _read_v2(folder: str, now: int) -> CgroupStats:
    return CgroupStats(
        now,
        CpuStats(
            field(read(f"{folder}/cpu.stat"), b"usage_usec") * 1000,
            _psi(f"{folder}/cpu.pressure"),
        ),
        _memory_v2(folder),
        _psi(f"{folder}/io.pressure"),
    )


def _memory_v2(folder: str) -> MemoryStats | None:
    usage = read_number(f"{folder}/memory.current")
    if usage is None:
        return None
    stat = read(f"{folder}/memory.stat")
    return MemoryStats(
        usage=usage,
        working_set=max(usage - field(stat, b"inactive_file"), 0),
        rss=field(stat, b"anon"),
        limit=read_number(f"{folder}/memory.max") or 0,
        page_faults=field(stat, b"pgfault"),
        major_page_faults=field(stat, b"pgmajfault"),
        swap_usage=read_number(f"{folder}/memory.swap.current") or 0,
        swap_limit=read_number(f"{folder}/memory.swap.max"),
        cache=field(stat, b"file"),
        mapped_file=field(stat, b"file_mapped"),
        psi=_psi(f"{folder}/memory.pressure"),
    )


def _memory_v1(folder: str) -> MemoryStats:
    usage = int(read(f"{folder}/memory.usage_in_bytes"))
    # One file has the rest: total_* counts the cgroups below, too; limits are the effective ones.
    stat = read(f"{folder}/memory.stat")
    limit = field(stat, b"hierarchical_memory_limit")
    both = field(stat, b"hierarchical_memsw_limit")
    return MemoryStats(
        usage=usage,
        working_set=max(usage - field(stat, b"total_inactive_file"), 0),
        rss=field(stat, b"total_rss"),
        limit=0 if limit >= _NO_LIMIT_V1 else limit,
        page_faults=field(stat, b"total_pgfault"),
        major_page_faults=field(stat, b"total_pgmajfault"),
        swap_usage=field(stat, b"total_swap"),
        swap_limit=max(both - limit, 0) if 0 < both < _NO_LIMIT_V1 else None,
        cache=field(stat, b"total_cache"),
        mapped_file=field(stat, b"total_mapped_file"),
    )


def _psi(path: str) -> Psi | None:
    text = read_optional(path)
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


def field(text: bytes, name: bytes) -> int:
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


def read_number(path: str) -> int | None:
    """A file with one number; None when it is missing or says "max"."""
    text = read_optional(path).strip()
    return int(text) if text.isdigit() else None


def read(path: str) -> bytes:
    """A file's content; these files come in one piece."""
    with Fd.open(path, os.O_RDONLY) as fd:
        return os.read(fd.number, 1 << 16)


def read_optional(path: str) -> bytes:
    """A file's content; empty when the host has no such file."""
    try:
        return read(path)
    except OSError as error:
        # EOPNOTSUPP: pressure information is switched off for this cgroup.
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENOTSUP):
            return b""
        raise
