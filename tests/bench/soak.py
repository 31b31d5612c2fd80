"""Many lives of pods against one daemon: nothing that it holds may grow."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench import report
from tests.bench.cri_daemon import BenchDaemon, bench_daemon
from tests.bench.place import Place
from tests.support.counters import processes
from tests.support.cri_side import Side
from tests.support.lives import life, settled_count

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
killed, a caller that goes away. Columns: what there is at the end, and the least and most since
{warm} pods. GROWS: the end has more than then, and of RSS than after {kept} pods, beyond noise."""

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
                _explain(daemon)
        return samples


def _explain(daemon: BenchDaemon) -> None:
    """What there should be nothing of."""
    for each in processes(daemon.place, daemon.pid):
        print(f"  process {each}", file=sys.stderr, flush=True)
    for text in daemon.log.read_text(errors="replace").splitlines():
        if text.split(" ", 2)[1:2] == ["error"]:
            print(f"  {text}", file=sys.stderr, flush=True)
    daemon.log.write_bytes(b"")  # it is appended to


def _say(number: int, sample: Sample) -> None:
    text = ", ".join(f"{name} {value}" for name, value in sample.items())
    print(f"{number}: {text}", file=sys.stderr, flush=True)
