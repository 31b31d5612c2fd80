"""One pod after another through the CRI until the node is full: whether the last costs more.

Processor time of the daemon is what is compared, for it hardly depends on others that use the
machine. Medians are, because the kernel spins where others make network namespaces, too.
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
CPU, CHILDREN, TIME = "CPU of the daemon", "CPU of its children", "time"
IMAGE = "docker.io/library/busybox:latest"
METHOD = """\
Pods one after another by the CRI, with {lists} lists of pods and containers after each, up to {pods}.
CPU: of the daemon with all threads; and of the processes that it waited for, as CNI plugins, in
ticks of 10 ms. First and last: medians of {few} pods; of children's, means."""


def measure(place: Place, pods: int, goal: float) -> report.Section:
    """One section."""
    found = asyncio.run(_fill(place.directory / "fill", pods))
    section = report.Section(
        title=f"Density: {pods} pods one after another",
        method=METHOD.format(lists=LISTS, pods=pods, few=min(FEW, pods)),
    )
    few = min(FEW, pods)
    for name, values in found.items():
        middle = statistics.fmean if name == CHILDREN else statistics.median
        first, last = middle(values[:few]), middle(values[-few:])
        section.lines += [
            _line(f"{name}, p50", usage.percentile(values, 0.5), values),
            _line(f"{name}, p99", usage.percentile(values, 0.99), values),
            _line(f"{name}, first", first, values[:few]),
            _line(f"{name}, last", last, values[-few:]),
            report.Line(name=f"{name}, last against first", unit="times",
                        value=last / first if first else 0.0, goal=goal if name == CPU else None),
        ]  # fmt: skip
    return section


def _line(name: str, value: float, values: Sequence[float]) -> report.Line:
    return report.Line(name=name, unit="ms", value=value, values=tuple(values))


async def _fill(directory: Path, pods: int) -> dict[str, list[float]]:
    """Milliseconds of each pod."""
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(bench_daemon(directory))
        side = await stack.enter_async_context(Side(daemon.peer, IMAGE, f"{directory}/logs"))
        await side.need_image()
        # What is imported and read once.
        await side.down(await timed_up(side))
        side.took.clear()
        found: dict[str, list[float]] = {CPU: [], CHILDREN: []}
        made = []
        for _ in range(pods):
            before, below = usage.cpu_time(daemon.pid), _children(daemon.pid)
            made.append(await timed_up(side))
            for _ in range(LISTS):
                await side.sandboxes()
                await side.containers()
            found[CPU].append((usage.cpu_time(daemon.pid) - before) * 1000)
            found[CHILDREN].append((_children(daemon.pid) - below) * 1000)
        for pod in made:
            await side.down(pod)
        return found | {TIME: side.took["up"]}


def _children(pid: int) -> float:
    """Seconds of processes that have ended and were waited for."""
    *_, user, kernel = usage.cpu_times(pid)
    return user + kernel
