"""Where the time of the daemon's calls goes: by program, and by the daemon's own stages."""

from __future__ import annotations

import asyncio
import time

from tests.bench import pod_phases, usage
from tests.bench.cri_daemon import BenchDaemon
from tests.bench.measure import median
from tests.bench.pod_phases import Span
from tests.bench.report import Line, Section
from tests.bench.spawns import SpawnLog
from tests.support.cri_side import POLITE, Side

from trilby.cri.client import pages
from trilby.pods.trace import Stage

MONITOR = "conmon and runtime create"
METHOD = """\
Rounds of their own with every process traced. First each step as the client sees it, and who was
at work: runc, else conmon, else a CNI plugin, else ours. Then the daemon's stages, as
`trilby pod trace` shows them; what a step has more than its operation is gRPC and the client."""


async def measure(side: Side, daemon: BenchDaemon, rounds: int) -> Section:
    """A few lives of pods, taken apart."""
    steps: dict[str, list[Span]] = {}
    stages: list[list[Stage]] = []
    before = usage.cpu_times(daemon.pid)
    with SpawnLog(daemon.pid) as log:
        for _ in range(rounds):
            sandbox = await _life(side, steps)
            stages.append(
                await asyncio.to_thread(pages.get, daemon.socket, f"/trace/{sandbox}", list[Stage])
            )
    after = usage.cpu_times(daemon.pid)
    section = Section(title="CRI: where the time goes", method=METHOD)
    monitors = _spans(stages)
    for step, spans in steps.items():
        values = tuple((end - start) * 1000 for start, end in spans)
        section.lines.append(Line(name=step, unit="ms", value=median(values), values=values))
        section.lines += pod_phases.lines(step, spans, log.lives, monitors)
    section.lines += _by_stage(stages)
    names = ("ours, user", "ours, kernel", "children, user", "children, kernel")
    for name, was, now in zip(names, before, after, strict=True):
        value = (now - was) / rounds * 1000
        section.lines.append(Line(name=f"CPU of a life: {name}", unit="ms", value=value))
    return section


async def _life(side: Side, steps: dict[str, list[Span]]) -> str:
    def note(step: str, start: float) -> float:
        now = time.monotonic()
        steps.setdefault(step, []).append((start, now))
        return now

    at = time.monotonic()
    sandbox = await side.run_sandbox()
    at = note("RunPodSandbox", at)
    container = await side.create(sandbox, "main", POLITE)
    at = note("CreateContainer", at)
    await side.start(container)
    at = note("StartContainer", at)
    await side.exec(container, "true")
    at = note("ExecSync", at)
    await side.stop(container, 10)
    at = note("StopContainer", at)
    await side.stop_sandbox(sandbox)
    at = note("StopPodSandbox", at)
    await side.remove_sandbox(sandbox)
    note("RemovePodSandbox", at)
    return sandbox


def _spans(stages: list[list[Stage]]) -> list[Span]:
    """When conmon was waited for, by the monotonic clock."""
    offset = time.time_ns() - time.monotonic_ns()
    return [
        ((stage.begin - offset) / 1e9, (stage.end - offset) / 1e9)
        for pod in stages
        for stage in pod
        if stage.name == MONITOR
    ]


def _by_stage(stages: list[list[Stage]]) -> list[Line]:
    """Medians of each part, in the order of the first pod."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for pod in stages:
        for stage in pod:
            key = (stage.operation, stage.name, stage.depth)
            found.setdefault(key, []).append((stage.end - stage.begin) / 1e6)
    return [
        Line(
            name=f"{'  ' * depth}{name}",
            unit="ms",
            value=median(values),
            values=tuple(values),
        )
        for (_, name, depth), values in found.items()
    ]
