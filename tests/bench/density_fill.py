"""One pod after another through the CRI until the node is full: whether the last costs more.

Processor time is what is compared, of the daemon and of what it ran: it does not depend on others
that use the machine.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench import report, usage
from tests.bench.cri import timed_up
from tests.bench.cri_daemon import bench_daemon
from tests.bench.place import Place
from tests.support.cri_side import Side

#: So many pods are compared, at the beginning and at the end.
FEW = 20
#: Lists between two pods, as a kubelet that starts one a second asks for.
LISTS = 2
IMAGE = "docker.io/library/busybox:latest"
METHOD = """\
Pods one after another by the CRI, with {lists} lists of pods and containers after each, up to {pods}.
CPU: of the daemon with its threads, and of the processes that it waited for, as CNI plugins; what
runc does below conmon is not in it. First and last: means of {few} pods."""


def measure(place: Place, pods: int, goal: float) -> report.Section:
    """One section."""
    spent, took = asyncio.run(_fill(place.directory / "fill", pods))
    section = report.Section(
        title=f"Density: {pods} pods one after another",
        method=METHOD.format(lists=LISTS, pods=pods, few=min(FEW, pods)),
    )
    for name, unit, values in (("CPU of a pod", "ms", spent), ("time of a pod", "ms", took)):
        few = min(FEW, len(values))
        first, last = statistics.fmean(values[:few]), statistics.fmean(values[-few:])
        section.lines += [
            _line(f"{name}, p50", unit, usage.percentile(values, 0.5), values),
            _line(f"{name}, p99", unit, usage.percentile(values, 0.99), values),
            _line(f"{name}, first", unit, first, values[:few]),
            _line(f"{name}, last", unit, last, values[-few:]),
            report.Line(name=f"{name}, last against first", unit="times", value=last / first,
                        goal=goal if name == "CPU of a pod" else None),
        ]  # fmt: skip
    return section


def _line(name: str, unit: str, value: float, values: Sequence[float]) -> report.Line:
    return report.Line(name=name, unit=unit, value=value, values=tuple(values))


async def _fill(directory: Path, pods: int) -> tuple[list[float], list[float]]:
    """Milliseconds of CPU, and of time, of each pod."""
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(bench_daemon(directory))
        side = await stack.enter_async_context(Side(daemon.peer, IMAGE, f"{directory}/logs"))
        await side.need_image()
        # What is imported and read once.
        await side.down(await timed_up(side))
        side.took.clear()
        spent, made = [], []
        for _ in range(pods):
            before = _cpu(daemon.pid)
            made.append(await timed_up(side))
            for _ in range(LISTS):
                await side.sandboxes()
                await side.containers()
            spent.append((_cpu(daemon.pid) - before) * 1000)
        for pod in made:
            await side.down(pod)
        return spent, side.took["up"]


def _cpu(pid: int) -> float:
    """Seconds; the kernel counts those of children in ticks of ten milliseconds."""
    *_, user, kernel = usage.cpu_times(pid)
    return usage.cpu_time(pid) + user + kernel
