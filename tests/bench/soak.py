"""Many lives of pods against one daemon: nothing that it holds may grow."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench import report
from tests.bench.cri_daemon import BenchDaemon, bench_daemon
from tests.bench.cri_side import POLITE, SLEEP, Side
from tests.bench.place import Place
from tests.support.counters import count

from trilby.cri.errors import CriError
from trilby.cri.proto import container_pb2, stats_pb2

EVERY = 25
#: Modules are imported, caches filled, and the traces of the last pods come to be.
WARM = 50
#: Of what may move a little: how much more the end may have than the beginning.
NOISE = {"RSS": 2048, "size": 64, "threads": 2}
#: The trace of so many pods is kept, so memory grows until then.
KEPT = 256
METHOD = """\
One pod after the other: sandbox, container, commands in it, its log, statistics, stop, remove; each
fifth with a command that takes too long, a program that does not exist, a second container that is
killed, a caller that goes away. Columns: after {warm} pods, the least and most since, at the end.
GROWS: the end has more than then, RSS than after {kept} pods, beyond noise."""

Sample = dict[str, int]


def measure(place: Place, rounds: int) -> list[report.Section]:
    """Prints each sample on stderr while it goes on."""
    samples = asyncio.run(_soak(place.directory / "soak", rounds))
    section = report.Section(
        title=f"Soak: {rounds} pods", method=METHOD.format(warm=WARM, kept=KEPT)
    )
    section.lines = [line(name, samples) for name in samples[0][1]]
    return [section]


def line(name: str, samples: list[tuple[int, Sample]]) -> report.Line:
    """One counter over all samples."""
    settled = [sample for sample in samples if sample[0] >= WARM] or samples
    first = settled[0][1][name]
    if name == "RSS":
        first = next((s[name] for n, s in settled if n >= KEPT), first)
    last = settled[-1][1][name]
    grows = last - first > NOISE.get(name, 0)
    values = tuple(float(sample[name]) for _, sample in settled)
    return report.Line(
        name=name,
        unit="KiB" if name in ("RSS", "size") else "",
        value=last,
        values=values,
        goal=first + NOISE.get(name, 0),
        note="GROWS" if grows else "",
    )


async def _soak(directory: Path, rounds: int) -> list[tuple[int, Sample]]:
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(bench_daemon(directory))
        side = await stack.enter_async_context(
            Side(daemon.peer, "docker.io/library/busybox:latest", f"{directory}/logs")
        )
        samples = []
        for number in range(rounds + 1):
            if number:
                await life(side, number)
                shutil.rmtree(f"{directory}/logs", ignore_errors=True)  # as the kubelet does
            if number % EVERY == 0 or number == rounds:
                samples.append((number, await settled_count(daemon)))
                _say(number, samples[-1][1])
        return samples


async def settled_count(daemon: BenchDaemon) -> Sample:
    """What it holds when the last pod's ends are over: monitors end a moment after."""
    for _ in range(40):
        now = count(daemon.place, daemon.pid)
        await asyncio.sleep(0.05)
        if now["processes"] <= 1:
            break
    return count(daemon.place, daemon.pid)


async def life(side: Side, number: int) -> None:
    """One pod from beginning to end, with what can go wrong."""
    sandbox = await side.run_sandbox()
    container = await side.create(sandbox, "main", POLITE)
    await side.start(container)
    await side.exec(container, "sh", "-c", "echo hello >/proc/1/fd/1")
    await _OTHERS[number % len(_OTHERS)](side, sandbox, container)
    await side.call(stats_pb2.ListPodSandboxStatsRequest(), stats_pb2.ListPodSandboxStatsResponse)
    status = container_pb2.ContainerStatusRequest(container_id=container, verbose=True)
    found = await side.call(status, container_pb2.ContainerStatusResponse)
    log = Path(found.status.log_path)
    assert log.read_bytes().endswith(b" stdout F hello\n"), log.read_bytes()
    log.rename(f"{log}.1")
    reopen = container_pb2.ReopenContainerLogRequest(container_id=container)
    await side.call(reopen, container_pb2.ReopenContainerLogResponse)
    assert len((await side.containers()).containers) >= 1
    await side.stop(container, 10)
    await side.stop_sandbox(sandbox)
    if number % 2:
        remove = container_pb2.RemoveContainerRequest(container_id=container)
        await side.call(remove, container_pb2.RemoveContainerResponse)
    await side.remove_sandbox(sandbox)
    assert len((await side.sandboxes()).items) == 0


async def _nothing(side: Side, sandbox: str, container: str) -> None:
    return


async def _too_long(side: Side, sandbox: str, container: str) -> None:
    request = container_pb2.ExecSyncRequest(
        container_id=container, cmd=["sh", "-c", "sleep 100 & sleep 100"], timeout=1
    )
    await _refused(side.call(request, container_pb2.ExecSyncResponse))


async def _no_program(side: Side, sandbox: str, container: str) -> None:
    missing = await side.create(sandbox, "missing", ("/no/such/program",))
    await _refused(side.start(missing))
    await _refused(side.exec(container, "/no/such/program"))


async def _killed(side: Side, sandbox: str, container: str) -> None:
    other = await side.create(sandbox, "other", SLEEP)
    await side.start(other)
    await side.stop(other, 0)
    await _refused(side.exec(other, "true"))


async def _gone(side: Side, sandbox: str, container: str) -> None:
    for pause in (0.002, 0.02, 0.05):
        making = asyncio.ensure_future(side.create(sandbox, f"late{pause}", SLEEP))
        await asyncio.wait([making], timeout=pause)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


_OTHERS: tuple[Callable[[Side, str, str], Awaitable[None]], ...] = (
    _nothing,
    _too_long,
    _no_program,
    _killed,
    _gone,
)


async def _refused(call: Awaitable[object]) -> None:
    try:
        await call
    except CriError:
        return
    raise AssertionError("it should have been refused")


def _say(number: int, sample: Sample) -> None:
    text = ", ".join(f"{name} {value}" for name, value in sample.items())
    print(f"{number}: {text}", file=sys.stderr, flush=True)
