"""The lines of the CRI benchmark: ours against its goal and the quickest peer, then the peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from tests.bench.measure import median
from tests.bench.report import Line
from tests.support.cri_side import OURS, Side


def p99(values: Sequence[float]) -> float:
    """The 99th percentile; of few values the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


class Measure(msgspec.Struct, frozen=True):
    """``recorded`` are figures of CRI-O and containerd that were measured on another day."""

    key: str
    title: str
    unit: str = "ms"
    goal: float | None = None
    recorded: tuple[float, ...] = ()
    of: Callable[[Sequence[float]], float] = median
    scale: float = 1.0


MEASURES = (
    Measure("up", "pod up: all three", goal=80, recorded=(142, 156)),
    Measure("run", "  RunPodSandbox"),
    Measure("create", "  CreateContainer"),
    Measure("start container", "  StartContainer"),
    Measure("together", "10 pods up, in parallel", "s", 0.9, (1.4, 1.7), scale=1e-3),
    Measure("down together", "10 pods down, in parallel", "s", scale=1e-3),
    Measure("exec", "ExecSync true", goal=12, recorded=(25, 30)),
    Measure("stop", "StopContainer, ends on SIGTERM", goal=20, recorded=(120, 25)),
    Measure("kill", "StopContainer, timeout 0", goal=20),
    Measure("down", "pod down: both", goal=80, recorded=(190, 140)),
    Measure("stop sandbox", "  StopPodSandbox"),
    Measure("remove sandbox", "  RemovePodSandbox"),
    Measure("list containers", "ListContainers, p50"),
    Measure("list containers", "ListContainers, p99", goal=10, of=p99),
    Measure("list sandboxes", "ListPodSandbox, p50"),
    Measure("list sandboxes", "ListPodSandbox, p99", goal=10, of=p99),
    Measure("start", "start until Version answers", goal=500),
    Measure("start many", "start with all pods", goal=500),
    Measure("rss idle", "RSS after start", "MiB", 50),
    Measure("pss idle", "PSS after start", "MiB"),
    Measure("rss few", "RSS with 20 pods", "MiB", 60),
    Measure("pss few", "PSS with 20 pods", "MiB", 60),
    Measure("rss many", "RSS with all pods", "MiB"),
    Measure("pss many", "PSS with all pods", "MiB"),
    Measure("cpu idle", "CPU with all pods, idle", "%", 0.3),
    Measure("cpu asked", "CPU with all pods, asked", "%", 0.3),
)


def lines(sides: Sequence[Side]) -> list[Line]:
    """Whatever was measured, in the order of MEASURES."""
    found = []
    for measure in MEASURES:
        known = {side.name: _values(side, measure) for side in sides if measure.key in side.took}
        peers = {name: measure.of(values) for name, values in known.items() if name != OURS}
        best = min(peers, key=lambda name: peers[name]) if peers else ""
        for side in sides:
            if side.name in known:
                found.append(_line(side, measure, known[side.name], best, peers))
    return found


def _values(side: Side, measure: Measure) -> list[float]:
    return [value * measure.scale for value in side.took[measure.key]]


def _line(
    side: Side, measure: Measure, values: list[float], best: str, peers: dict[str, float]
) -> Line:
    ours = side.name == OURS
    value = measure.of(values)
    notes = [side.notes.get(measure.key, "")]
    if ours and measure.recorded:
        crio, containerd = measure.recorded
        notes.append(f"[CRI-O {crio:g}, containerd {containerd:g}]")
    return Line(
        name=f"{measure.title}: {side.name}",
        unit=measure.unit,
        value=value,
        values=tuple(values),
        against=best,
        ratio=value / peers[best] if ours and best and peers[best] else None,
        goal=measure.goal if ours else None,
        note=" ".join(filter(None, notes)),
    )
