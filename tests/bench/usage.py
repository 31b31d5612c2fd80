"""What processes use: memory, and CPU time by the kernel's own clock of a process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import msgspec

#: Programs that stay beside a container: conmon, containerd's shim.
MONITORS = ("conmon", "containerd-shim")
MIB = 1 << 20


class Memory(msgspec.Struct, frozen=True):
    """Sums over processes, in MiB; ``pss`` counts what they share once among all that share it."""

    rss: float
    pss: float
    processes: int


def memory(pids: Iterable[int]) -> Memory:
    """Of processes that live; one that has just ended counts nothing."""
    rss = pss = count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = _rollup(pid)
            rss, pss, count = rss + fields["Rss"], pss + fields["Pss"], count + 1
    return Memory(rss / 1024, pss / 1024, count)


def monitors(ids: Collection[str]) -> list[int]:
    """The monitors of sandboxes and containers that have these ids."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        program = os.path.basename(words[0])
        if program.startswith(MONITORS) and not ids_of(words).isdisjoint(ids):
            found.append(int(entry.name))
    return found


def monitors_below(init: int) -> list[int]:
    """All monitors in the process namespace of a host's PID 1, as this one numbers them."""
    namespace = os.readlink(f"/proc/{init}/ns/pid")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                program = (entry / "comm").read_text().strip()
                if program.startswith(MONITORS) and os.readlink(entry / "ns/pid") == namespace:
                    found.append(int(entry.name))
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so many of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def ids_of(words: Iterable[str]) -> set[str]:
    """Words that are ids of sandboxes or containers."""
    return {word for word in words if len(word) == 64}


def helpers(pid: int) -> list[int]:
    """Children of a daemon that are not monitors, such as one that unpacks layers."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
                if not os.path.basename(words[0]).startswith((*MONITORS, "runc")):
                    found.append(int(child))
    return found


def cpu_time(pid: int) -> float:
    """Seconds of CPU that a process has used, its ended threads included. Raises OSError."""
    # clock_getcpuclockid(3): the kernel makes the clock's number from that of the process.
    return time.clock_gettime((~pid << 3) | 2)


def cpu_times(pid: int) -> tuple[float, float, float, float]:
    """Seconds: its own in user mode and in the kernel, and those of children it waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    user, kernel, child_user, child_kernel = (int(field) / tick for field in fields[11:15])
    return user, kernel, child_user, child_kernel


def _rollup(pid: int) -> dict[str, int]:
    """Kilobytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) for name, value in pairs}
