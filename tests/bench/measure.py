"""Whole processes measured: wall time, CPU time, memory of the process tree."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

SAMPLE_INTERVAL = 0.003


class Failed(Exception):
    """A measured command failed; the message has what it said."""


class Run(msgspec.Struct, frozen=True):
    """One command: seconds of wall time, and of CPU with all descendants that were waited for."""

    wall: float
    user: float
    system: float


class Memory(msgspec.Struct, frozen=True):
    """Peaks of a process tree, in bytes.

    ``high_water`` adds the VmHWM of every process that ever was in the tree: an upper bound.
    ``proportional`` is the largest sum of PSS seen at one moment: shared pages count once.
    """

    high_water: int
    proportional: int
    processes: int


def run(argv: Sequence[str], env: Mapping[str, str], log: Path) -> Run:
    """Run a command to its end. Raises Failed."""
    with log.open("wb") as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    _check(child, argv, log)
    return Run(wall, usage.ru_utime, usage.ru_stime)


def watch_memory(argv: Sequence[str], env: Mapping[str, str], log: Path) -> Memory:
    """Run a command and look at its tree all the time; its time is worth nothing. Raises Failed."""
    peaks: dict[int, int] = {}
    proportional = 0
    with log.open("wb") as output:
        child = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        while child.poll() is None:
            sizes = 0
            for pid in tree(child.pid):
                with contextlib.suppress(OSError):
                    peaks[pid] = max(peaks.get(pid, 0), _field(f"/proc/{pid}/status", "VmHWM:"))
                    sizes += _field(f"/proc/{pid}/smaps_rollup", "Pss:")
            proportional = max(proportional, sizes)
            time.sleep(SAMPLE_INTERVAL)
    _check(child, argv, log)
    return Memory(sum(peaks.values()), proportional, len(peaks))


def tree(root: int) -> list[int]:
    """A process and its descendants at this moment."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                text = Path(f"/proc/{pid}/task/{task}/children").read_text()
                found += [int(word) for word in text.split()]
    return found


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest."""
    return (min(values), max(values)) if values else (float("nan"), float("nan"))


def _field(path: str, name: str) -> int:
    """A line of kilobytes of a /proc file, as bytes."""
    with open(path) as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def _check(child: subprocess.Popen[bytes], argv: Sequence[str], log: Path) -> None:
    if child.returncode != 0:
        said = log.read_text(errors="replace")[-2000:]
        raise Failed(f"{' '.join(argv)}: exit status {child.returncode}\n{said}")
