"""What the daemon counts of itself, for Prometheus: numbers in memory, and nothing else.

Counting costs a few dictionary look-ups, whether or not anybody reads it. The library that writes
what Prometheus reads is imported with the server (metrics_server), by who asks for that.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from trilby.cri.config import DaemonConfig
from trilby.errors import Corrupt, NotFound, Refused, Unauthorized, Unavailable
from trilby.pods.engine import Engine
from trilby.pods.events import ContainerEvent, EventType

#: Upper bounds of the classes of calls' times, in seconds.
LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
#: Upper bounds of the classes of layers' sizes, in bytes; CRI-O's.
SIZES: Final = tuple(
    count * 10**6 for count in (0.001, 1, 10, 50, 100, 200, 300, 400, 500, 1000, 10_000)
)
#: What CRI-O calls these classes where a size is a label.
SIZE_NAMES: Final = (
    ">0 B",
    ">1 KiB",
    *(f">{count} MiB" for count in (1, 10, 50, 100, 200, 300, 400, 500)),
    ">1 GiB",
    ">10 GiB",
)
#: Containers whose kills for memory are counted by name; the oldest is forgotten first.
MOST_NAMES: Final = 1000

#: Why a pull failed; the first that fits. CRI-O's words where it has one.
_FAILURES: Final = (
    (Unauthorized, "UNAUTHORIZED"),
    (NotFound, "NOT_FOUND"),
    (Refused, "DENIED"),
    (Corrupt, "DIGEST_INVALID"),
    (ConnectionRefusedError, "CONNECTION_REFUSED"),
    (TimeoutError, "CONNECTION_TIMEOUT"),
    (Unavailable, "UNAVAILABLE"),
)


class Classes:
    """A histogram: how many values are at most each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def total(self) -> int:
        return sum(self.counts)


class Operation:
    """The calls of one RPC; times in seconds."""

    __slots__ = ("errors", "last", "seconds")

    def __init__(self) -> None:
        self.errors = 0
        self.last = 0.0
        self.seconds = Classes(LATENCIES)


class Metrics:
    """Told of what happens by those to whom it happens. Not safe in threads: the loop's only."""

    def __init__(self, config: DaemonConfig) -> None:
        self.started = time.time()
        self.default_runtime = config.engine.default_runtime
        self.operations: dict[str, Operation] = {}
        self.events_dropped = 0
        self.oom_total = 0
        self.oom_by_name: dict[str, int] = {}
        self.stalled_at: Counter[str] = Counter()
        self.pulls_ok = 0
        self.pulls_failed: Counter[str] = Counter()
        self.pulled_bytes: Counter[str] = Counter()
        self.skipped_bytes: Counter[str] = Counter()
        self.layer_sizes = Classes(SIZES)
        self.layers_reused = 0

    def observe_rpc(self, name: str, seconds: float, *, error: bool) -> None:
        """A call has ended. A stream's time is how long it was open."""
        operation = self.operations.get(name)
        if operation is None:
            operation = self.operations[name] = Operation()
        operation.errors += error
        operation.last = seconds
        operation.seconds.add(seconds)

    def event_dropped(self) -> None:
        """A reader of container events was too slow for one."""
        self.events_dropped += 1

    def stalled(self, stage: str) -> None:
        """A request waits for an earlier one of the same name, which is at ``stage``."""
        self.stalled_at[stage] += 1

    def container_oom(self, name: str) -> None:
        """The kernel killed a process of the container for memory."""
        self.oom_total += 1
        self.oom_by_name[name] = self.oom_by_name.get(name, 0) + 1
        while len(self.oom_by_name) > MOST_NAMES:
            del self.oom_by_name[next(iter(self.oom_by_name))]

    def container_removed(self, name: str) -> None:
        self.oom_by_name.pop(name, None)

    # Pulls

    def pull_done(self, name: str, size: int, *, skipped: int) -> None:
        """``size`` is the image's compressed bytes; ``skipped`` were there already."""
        self.pulls_ok += 1
        if skipped:
            self.skipped_bytes[size_name(skipped)] += skipped

    def pull_failed(self, name: str, error: BaseException) -> None:
        self.pulls_failed[failure(error)] += 1

    def layer_done(self, size: int, *, reused: bool) -> None:
        """A blob of an image is in the store; ``reused`` ones were not fetched."""
        if reused:
            self.layers_reused += 1
            return
        self.layer_sizes.add(size)
        self.pulled_bytes[size_name(size)] += size

    # Events of the engine

    async def follow(self, engine: Engine) -> None:
        """Count what containers do, until cancelled."""
        events: AsyncIterator[ContainerEvent] = engine.subscribe()
        names: dict[str, tuple[str, str]] = {}
        async for event in events:
            if event.type is EventType.OOM:
                name = _container_name(engine, event)
                names[event.container_id] = name, event.sandbox_id
                self.container_oom(name)
            elif event.type is EventType.DELETED:
                # With a sandbox its containers go, without an event of their own.
                for container_id, (name, sandbox_id) in list(names.items()):
                    if event.container_id in (container_id, sandbox_id):
                        del names[container_id]
                        self.container_removed(name)


def _container_name(engine: Engine, event: ContainerEvent) -> str:
    with contextlib.suppress(NotFound):
        pod = engine.sandbox_status(event.sandbox_id)
        one = engine.container_status(event.container_id)
        return f"k8s_{one.name}_{pod.name}_{pod.namespace}_{pod.uid}_{one.attempt}"
    return event.container_id


def size_name(size: int) -> str:
    """The class of a size, as a label."""
    return SIZE_NAMES[bisect.bisect_left(SIZES, size)]


def failure(error: BaseException) -> str:
    """Why a pull failed, in one word; causes count where the error itself says too little."""
    found = "UNKNOWN"
    cause: BaseException | None = error
    while cause is not None:
        for kind, word in _FAILURES:
            if isinstance(cause, kind):
                found = word
                if word != "UNAVAILABLE":
                    return word
                break
        cause = cause.__cause__
    return found


async def stop(task: asyncio.Task[None]) -> None:
    """End a task of ``Metrics.follow``."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
