"""trilbyd and its peers through the CRI socket: the same client, image and work, turn by turn."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from tests.bench import cri_phases, cri_table, usage
from tests.bench.cri_daemon import BenchDaemon, bench_daemon
from tests.bench.place import Place
from tests.bench.report import Section
from tests.support.cri_side import OURS, POLITE, SLEEP, Peer, Pod, Side

from trilby.cri.proto import stats_pb2

PARTS = ("steps", "parallel", "lists", "memory", "idle", "phases")
STARTS = 5
EXECS = 3
TOGETHER = 10
#: A pod has that many of the containers that are listed.
PER_POD = 10
LISTS = 100
FEW = 20
#: So many are made or removed at a time where that is not what is measured.
AT_A_TIME = 4
#: What a kubelet does: it lists every second, and asks for statistics every ten.
RELIST, STATISTICS = 1.0, 10


class Settings(msgspec.Struct, frozen=True):
    """What can be chosen on the command line."""

    peers: tuple[Peer, ...] = ()
    image: str = "docker.io/library/busybox:latest"
    registries_conf: Path | None = None
    runtime: str = ""
    parts: tuple[str, ...] = PARTS
    containers: int = 500
    pods: int = 110
    seconds: float = 20.0


METHOD = """\
One asyncio client with one connection per runtime, round by round in turn. A pod: bridge network,
runc, cgroupfs, a container of busybox, class BestEffort. Pod down: of one whose container runs and
ends on SIGTERM at once. StopContainer: of such a one, and with timeout 0. Lists: containers that
were created, {per_pod} in a pod. With pods, memory is that of the daemon, its helpers and the
monitors; PSS counts shared pages once. Idle CPU: of the daemon and its monitors; asked: lists every
second and statistics every ten, as a kubelet. The network: ours is the built-in one (bridge plugin,
masquerading by one rule for all pods); peers have what they are configured with. Figures in
brackets were measured elsewhere."""


def measure(place: Place, rounds: int, settings: Settings) -> list[Section]:
    """All parts that were asked for."""
    return asyncio.run(_measure(place, rounds, settings))


async def _measure(place: Place, rounds: int, settings: Settings) -> list[Section]:
    directory = place.directory / "cri"
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(
            bench_daemon(directory, settings.registries_conf, settings.runtime)
        )
        starts = await _starts(daemon)
        sides = [
            await stack.enter_async_context(Side(peer, settings.image, f"{directory}/logs"))
            for peer in (daemon.peer, *settings.peers)
        ]
        ours = sides[0]
        ours.took["start"] = starts
        versions = [f"{side.name}: {await side.version()}" for side in sides]
        for side in sides:
            _note_memory(side, "idle")
            await side.need_image()
        section = Section(
            title="CRI: trilbyd and its peers",
            method=f"{METHOD.format(per_pod=PER_POD)}\n{', '.join(versions)}",
        )
        if "steps" in settings.parts:
            await _steps(sides, rounds)
        if "parallel" in settings.parts:
            await _in_turn(sides, max(rounds // 3, 3), _together)
        if "memory" in settings.parts or "idle" in settings.parts:
            for side in sides:
                await _many(side, settings, daemon)
        if "lists" in settings.parts:
            for side in sides:
                await _lists(side, settings.containers)
        section.lines = cri_table.lines(sides)
        sections = [section]
        if "phases" in settings.parts:
            sections.append(await cri_phases.measure(ours, daemon, min(rounds, 10)))
        return sections


async def _starts(daemon: BenchDaemon) -> list[float]:
    """From the start of the process to the answer, in milliseconds; it runs at the end."""
    took = []
    for _ in range(STARTS):
        await daemon.stop()
        took.append(await timed_start(daemon))
    return took


async def timed_start(daemon: BenchDaemon) -> float:
    """Start it; milliseconds until Version was answered."""
    begin = time.perf_counter()
    await daemon.start()
    async with Side(daemon.peer, "", "") as side:
        await side.version()
    return (time.perf_counter() - begin) * 1000


async def _steps(sides: list[Side], rounds: int) -> None:
    await _in_turn(sides, rounds, _life)


async def _in_turn(sides: list[Side], rounds: int, work: Callable[[Side], Awaitable[None]]) -> None:
    """Every side in each round; the first one warms up and does not count."""
    kept = [dict(side.took) for side in sides]
    for number in range(rounds + 1):
        for side in sides:
            await work(side)
        if not number:
            for side, before in zip(sides, kept, strict=True):
                side.took = before


async def timed_up(side: Side, command: tuple[str, ...] = SLEEP) -> Pod:
    """A pod that runs; each step's time is noted, and that of all."""
    begin = start = time.perf_counter()
    sandbox = await side.run_sandbox()
    side.note("run", start)
    start = time.perf_counter()
    container = await side.create(sandbox, "main", command)
    side.note("create", start)
    start = time.perf_counter()
    await side.start(container)
    side.note("start container", start)
    side.note("up", begin)
    return Pod(sandbox, (container,))


async def _life(side: Side) -> None:
    """One pod that is stopped while it runs, and one whose containers are stopped before."""
    pod = await timed_up(side, POLITE)
    for _ in range(EXECS):
        start = time.perf_counter()
        await side.exec(pod.container, "true")
        side.note("exec", start)
    start = time.perf_counter()
    await side.stop_sandbox(pod.sandbox)
    side.note("stop sandbox", start)
    between = time.perf_counter()
    await side.remove_sandbox(pod.sandbox)
    side.note("remove sandbox", between)
    side.note("down", start)
    pod = await timed_up(side, POLITE)
    # The shell has to have come to its trap.
    await side.exec(pod.container, "true")
    start = time.perf_counter()
    await side.stop(pod.container, 10)
    side.note("stop", start)
    other = await side.create(pod.sandbox, "other", SLEEP)
    await side.start(other)
    start = time.perf_counter()
    await side.stop(other, 0)
    side.note("kill", start)
    await side.down(pod)


async def _together(side: Side) -> None:
    start = time.perf_counter()
    pods = await asyncio.gather(*(side.up() for _ in range(TOGETHER)))
    side.note("together", start)
    start = time.perf_counter()
    await asyncio.gather(*(side.down(pod) for pod in pods))
    side.note("down together", start)


async def _lists(side: Side, count: int) -> None:
    """Containers that were created and not started: nothing changes while they are listed."""
    turn = asyncio.Semaphore(AT_A_TIME)

    async def fill() -> Pod:
        async with turn:
            sandbox = await side.run_sandbox()
            made = [await side.create(sandbox, f"c{number}", SLEEP) for number in range(PER_POD)]
            return Pod(sandbox, tuple(made))

    pods = await asyncio.gather(*(fill() for _ in range(count // PER_POD)))
    try:
        for number in range(LISTS + 1):
            start = time.perf_counter()
            found = len((await side.containers()).containers)
            between = time.perf_counter()
            await side.sandboxes()
            assert found >= count, found
            if number:
                side.took.setdefault("list containers", []).append((between - start) * 1000)
                side.note("list sandboxes", between)
    finally:
        await _remove(side, pods)


async def _many(side: Side, settings: Settings, daemon: BenchDaemon) -> None:
    """Memory with a few pods, then idle CPU with a full node."""
    turn = asyncio.Semaphore(AT_A_TIME)

    async def one() -> Pod:
        async with turn:
            return await side.up()

    pods = await asyncio.gather(*(one() for _ in range(FEW)))
    try:
        await asyncio.sleep(2)
        _note_memory(side, "few")
        if "idle" in settings.parts:
            pods += await asyncio.gather(*(one() for _ in range(settings.pods - FEW)))
            await asyncio.sleep(2)
            _note_memory(side, "many")
            await _idle(side, settings.seconds, "idle", asked=False)
            await _idle(side, settings.seconds, "asked", asked=True)
            if side.name == OURS:
                await daemon.stop()
                side.took["start many"] = [await timed_start(daemon)]
                side.pid = daemon.pid
    finally:
        await _remove(side, pods)


async def _idle(side: Side, seconds: float, key: str, *, asked: bool) -> None:
    """Per cent of a core, of the daemon and of its monitors."""
    if not side.pid:
        return
    others = [*usage.monitors(side.ids), *usage.helpers(side.pid)]
    if asked:
        await _ask(side, 0)  # so that what is read once was read
    before, others_before = usage.cpu_time(side.pid), sum(map(usage.cpu_time, others))
    begin = time.perf_counter()
    number = 0
    while time.perf_counter() - begin < seconds:
        number += 1
        if asked:
            await _ask(side, number)
        left = begin + min(number * RELIST, seconds) - time.perf_counter()
        await asyncio.sleep(max(left, 0.0))
    length = time.perf_counter() - begin
    daemon = (usage.cpu_time(side.pid) - before) / length * 100
    monitors = (sum(map(usage.cpu_time, others)) - others_before) / length * 100
    side.took[f"cpu {key}"] = [daemon + monitors]
    side.notes[f"cpu {key}"] = f"daemon {daemon:.3f}, monitors {monitors:.3f}"


async def _ask(side: Side, number: int) -> None:
    await side.sandboxes()
    await side.containers()
    if number % STATISTICS == 0:
        await side.call(stats_pb2.ListContainerStatsRequest(), stats_pb2.ListContainerStatsResponse)


def _note_memory(side: Side, key: str) -> None:
    if not side.pid:
        return
    daemon = usage.memory([side.pid])
    helpers = usage.memory(usage.helpers(side.pid))
    monitors = usage.memory(usage.monitors(side.ids))
    side.took[f"rss {key}"] = [daemon.rss + helpers.rss + monitors.rss]
    side.took[f"pss {key}"] = [daemon.pss + helpers.pss + monitors.pss]
    parts = f"daemon {daemon.rss:.1f}"
    if helpers.processes:
        parts += f", {helpers.processes} helpers {helpers.rss:.1f}"
    if monitors.processes:
        parts += f", {monitors.processes} monitors {monitors.rss:.1f}"
    side.notes[f"rss {key}"] = parts
    side.notes[f"pss {key}"] = f"daemon {daemon.pss:.1f}, monitors {monitors.pss:.1f}"


async def _remove(side: Side, pods: list[Pod]) -> None:
    turn = asyncio.Semaphore(AT_A_TIME)

    async def one(pod: Pod) -> None:
        async with turn:
            await side.down(pod)

    await asyncio.gather(*map(one, pods))


def load() -> str:
    """The load average now."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())
