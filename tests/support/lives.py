"""Whole lives of pods, with what can go wrong in them: what a soak and a test repeat."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import cast

from tests.support.counters import count
from tests.support.cri_side import SLEEP, Side
from tests.support.daemon import DaemonProcess

from trilby.cri.errors import CriError
from trilby.cri.proto import container_pb2, stats_pb2
from trilby.pods.logs import Entry
from trilby.pods.logs_read import LogOptions, follow_log

#: Says something, and ends when it is asked to.
GREETING = ("sh", "-c", "trap 'exit 0' TERM; echo hello; while :; do sleep 1000 & wait; done")


async def settled_count(daemon: DaemonProcess) -> dict[str, int]:
    """What it holds when the last pod's ends are over: monitors end a moment after."""
    assert daemon.process is not None
    for _ in range(300):
        found = count(daemon.place, daemon.process.pid)
        if not found["processes"]:
            break
        await asyncio.sleep(0.05)
    return found


async def life(side: Side, number: int) -> None:
    """One pod from beginning to end, with what can go wrong."""
    sandbox = await side.run_sandbox()
    container = await side.create(sandbox, "main", GREETING)
    await side.start(container)
    await side.exec(container, "true")
    await _OTHERS[number % len(_OTHERS)](side, sandbox, container)
    await side.call(stats_pb2.ListPodSandboxStatsRequest(), stats_pb2.ListPodSandboxStatsResponse)
    status = container_pb2.ContainerStatusRequest(container_id=container, verbose=True)
    found = await side.call(status, container_pb2.ContainerStatusResponse)
    log = Path(found.status.log_path)
    assert await _first_line(log) == b"hello\n"
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


async def _first_line(log: Path) -> bytes:
    """conmon writes it when it comes to it."""
    ends = asyncio.Event()
    async with asyncio.timeout(10):
        following = follow_log(str(log), LogOptions(), ends.is_set, ends)
        async with contextlib.aclosing(cast("AsyncGenerator[Entry, None]", following)) as entries:
            async for entry in entries:
                return entry.data
    raise AssertionError("the log ended")


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
