"""Where the time of a pod goes: the stages of its start and end, kept in memory for the last pods.

A stage is recorded when it ends, also when it fails. Recording costs some microseconds and is safe
in threads; ``listener`` hands stages on, to OpenTelemetry for one.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

PODS: Final = 256
STAGES: Final = 500


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Times are nanoseconds since 1970. ``subject`` is a container's name, or empty for the pod.

    ``operation`` is what was asked for (``run_sandbox``, ``create_container``...), ``name`` the
    part of it; they are the same for the whole. ``error`` is empty when it went well.
    """

    sandbox_id: str
    operation: str
    name: str
    begin: int
    end: int
    subject: str = ""
    error: str = ""


class Traces:
    """Stages by sandbox; the oldest sandbox is forgotten first."""

    def __init__(self) -> None:
        self._pods: OrderedDict[str, list[Stage]] = OrderedDict()
        self.listener: Callable[[Stage], None] | None = None

    @contextlib.contextmanager
    def stage(
        self, sandbox_id: str, operation: str, name: str = "", subject: str = ""
    ) -> Iterator[None]:
        """Record the time that the block takes; without ``name`` it is the whole operation."""
        begin, error = time.time_ns(), ""
        try:
            yield
        except BaseException as raised:
            error = str(raised) or type(raised).__name__
            raise
        finally:
            self._keep(
                Stage(
                    sandbox_id=sandbox_id,
                    operation=operation,
                    name=name or operation,
                    subject=subject,
                    begin=begin,
                    end=time.time_ns(),
                    error=error,
                )
            )

    def of(self, sandbox_id: str) -> list[Stage]:
        """In the order of their beginning; empty for one that nothing is known of."""
        return sorted(self._pods.get(sandbox_id, ()), key=lambda stage: (stage.begin, -stage.end))

    def _keep(self, stage: Stage) -> None:
        stages = self._pods.get(stage.sandbox_id)
        if stages is None:
            stages = self._pods.setdefault(stage.sandbox_id, [])
            while len(self._pods) > PODS:
                self._pods.popitem(last=False)
        if len(stages) < STAGES:
            stages.append(stage)
        if self.listener is not None:
            self.listener(stage)
