"""Statistics and metrics of a full node: 110 pods, as a kubelet and Prometheus ask for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from google.protobuf.message import Message
from tests.bench.measure import median
from tests.bench.place import Place
from tests.bench.report import Line, Section
from tests.support import pods

from trilby.cri.config import DaemonConfig
from trilby.cri.proto import stats_pb2 as pb
from trilby.cri.stats import StatsRpcs
from trilby.pods.engine import Engine

COUNT = 110
#: So many are made at a time.
PARALLEL = 4
#: A kubelet asks every ten seconds; idle, all of it may take 0.3 % of a core.
GOAL = 30.0

METHOD = f"""\
{COUNT} pods with a container each, busybox from an overlay store on tmpfs, bridge plugin, runc. The
RPCs without gRPC, in this process; processor time of it. What takes longest is the kernel's."""


def measure(place: Place, rounds: int) -> list[Section]:
    """Each list in turn, after one round in which trees are walked and records read."""
    section = Section(title=f"Statistics of {COUNT} pods", method=METHOD)
    with pods.own_place(place.directory / "stats") as own:
        own.root.mkdir()
        section.lines += asyncio.run(_measure(own, rounds))
    return [section]


async def _measure(own: pods.Place, rounds: int) -> list[Line]:
    async with pods.own_engine(own, pods.store_rootfs(own)) as engine:
        turn = asyncio.Semaphore(PARALLEL)
        await asyncio.gather(*(_pod(engine, turn) for _ in range(COUNT)))
        rpcs = StatsRpcs(engine, DaemonConfig(included_pod_metrics=("all",)))
        asked: dict[str, Callable[[], Awaitable[Message]]] = {
            "ListContainerStats": lambda: rpcs.list_container_stats(pb.ListContainerStatsRequest()),
            "ListPodSandboxStats": lambda: rpcs.list_pod_sandbox_stats(
                pb.ListPodSandboxStatsRequest()
            ),
            "ListPodSandboxMetrics": lambda: rpcs.list_pod_sandbox_metrics(
                pb.ListPodSandboxMetricsRequest()
            ),
        }
        return [await _line(name, ask, rounds) for name, ask in asked.items()]


async def _pod(engine: Engine, turn: asyncio.Semaphore) -> None:
    async with turn:
        sandbox = await engine.run_sandbox(pods.pod())
        await engine.start_container(await engine.create_container(sandbox, pods.busybox()))


async def _line(name: str, ask: Callable[[], Awaitable[Message]], rounds: int) -> Line:
    walls, processor, size = [], [], 0
    for number in range(rounds + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        size = (await ask()).ByteSize()
        if number:
            walls.append((time.perf_counter() - wall) * 1000)
            processor.append((time.process_time() - cpu) * 1000)
    return Line(
        name=name,
        unit="ms",
        value=median(processor),
        values=tuple(processor),
        goal=GOAL if name == "ListContainerStats" else None,
        note=f"wall {median(walls):.0f} ms, {size} bytes",
    )
