"""Where the time of a pod goes: the stages of its start and end, kept in memory for the last pods.

A stage is recorded when it ends, also when it fails. Recording costs some microseconds and is safe
in threads; ``listener`` hands stages on, to OpenTelemetry for one.

``Traces.stage()`` is a whole operation. Its parts are told by ``part()`` anywhere below: it finds
the operation by the context that tasks and threads inherit, so nothing has to be handed down.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Final

import msgspec

#: More than a node has at a time; some 7 kB each.
PODS: Final = 128
#: Of a pod, its first stages are kept, and its last ones: what is between is a crash loop.
FIRST: Final = 200
LAST: Final = 60
#: Commands in a pod are without number, such as probes; a few show what they cost.
EXECS: Final = 5
#: Parts that took less are of no interest, in nanoseconds.
SHORTEST: Final = 50_000


class Stage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Times are nanoseconds since 1970. ``subject`` is a container's name, or empty for the pod.

    ``operation`` is what was asked for (``run_sandbox``, ``create_container``...), ``name`` the
    part of it; they are the same for the whole, whose ``depth`` is 0; a part of a part has 2.
    ``error`` is empty when it went well.
    """

    sandbox_id: str
    operation: str
    name: str
    begin: int
    end: int
    subject: str = ""
    error: str = ""
    depth: int = 0


class _Kept:
    """The stages of one pod."""

    __slots__ = ("execs", "first", "last")

    def __init__(self) -> None:
        self.first: list[Stage] = []
        self.last: deque[Stage] = deque(maxlen=LAST)
        self.execs = 0

    def add(self, stage: Stage) -> None:
        if stage.operation == "exec":
            self.execs += stage.name == stage.operation
            if self.execs > EXECS:
                return
        (self.first if len(self.first) < FIRST else self.last).append(stage)


class Traces:
    """Stages by sandbox; the oldest sandbox is forgotten first."""

    def __init__(self) -> None:
        self._pods: OrderedDict[str, _Kept] = OrderedDict()
        self.listener: Callable[[Stage], None] | None = None

    @contextlib.contextmanager
    def stage(
        self, sandbox_id: str, operation: str, name: str = "", subject: str = "", depth: int = 0
    ) -> Iterator[None]:
        """Record the time that the block takes; without ``name`` it is the whole operation."""
        token = _current.set((self, sandbox_id, operation, subject, depth))
        begin, error = time.time_ns(), ""
        try:
            yield
        except BaseException as raised:
            error = str(raised) or type(raised).__name__
            raise
        finally:
            _current.reset(token)
            end = time.time_ns()
            if not name or error or end - begin >= SHORTEST:
                self._keep(
                    Stage(
                        sandbox_id=sandbox_id,
                        operation=operation,
                        name=name or operation,
                        subject=subject,
                        begin=begin,
                        end=end,
                        error=error,
                        depth=depth,
                    )
                )

    def of(self, sandbox_id: str) -> list[Stage]:
        """In the order of their beginning; empty for one that nothing is known of."""
        kept = self._pods.get(sandbox_id)
        if kept is None:
            return []
        return sorted([*kept.first, *kept.last], key=lambda stage: (stage.begin, -stage.end))

    def find(self, prefix: str) -> list[str]:
        """The ids that begin so, of removed sandboxes too."""
        return [sandbox_id for sandbox_id in list(self._pods) if sandbox_id.startswith(prefix)]

    def _keep(self, stage: Stage) -> None:
        kept = self._pods.get(stage.sandbox_id)
        if kept is None:
            kept = self._pods.setdefault(stage.sandbox_id, _Kept())
            while len(self._pods) > PODS:
                self._pods.popitem(last=False)
        kept.add(stage)
        if self.listener is not None:
            self.listener(stage)


_current: ContextVar[tuple[Traces, str, str, str, int] | None] = ContextVar("trace", default=None)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Record a part of the operation that is under way; nothing outside of one."""
    current = _current.get()
    if current is None:
        yield
        return
    traces, sandbox_id, operation, subject, depth = current
    with traces.stage(sandbox_id, operation, name, subject, depth + 1):
        yield
