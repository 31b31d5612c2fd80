"""The stages of a pod, laid out for showing: bursts of work, and the rows of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from trilby.pods.trace import Stage

#: A pod that runs is idle for hours: what is further apart than this, in nanoseconds, gets an axis
#: of its own.
GAP: Final = 1_000_000_000


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's stages; ``name`` is ``namespace/name``, empty when nobody knows it any more."""

    sandbox_id: str
    name: str
    stages: tuple[Stage, ...]

    @property
    def title(self) -> str:
        short = self.sandbox_id[:12]
        return f"{self.name} ({short})" if self.name else short


class Burst(msgspec.Struct, frozen=True, kw_only=True):
    """Stages that are close to each other. ``idle`` is the time since the burst before."""

    begin: int
    end: int
    idle: int
    stages: tuple[Stage, ...]

    @property
    def length(self) -> int:
        return max(self.end - self.begin, 1)

    def place(self, stage: Stage) -> tuple[float, float]:
        """Where a stage begins on the axis and how long it is, as parts of the whole."""
        return (stage.begin - self.begin) / self.length, (stage.end - stage.begin) / self.length


def bursts(trace: Trace) -> list[Burst]:
    """In the order of time; the parts of a stage stand below it."""
    found: list[Burst] = []
    current: list[Stage] = []
    for stage in sorted(trace.stages, key=lambda one: (one.begin, -one.end)):
        if current and stage.begin - max(one.end for one in current) > GAP:
            found.append(_burst(current, found))
            current = []
        current.append(stage)
    if current:
        found.append(_burst(current, found))
    return found


def _burst(stages: Sequence[Stage], before: Sequence[Burst]) -> Burst:
    begin = min(stage.begin for stage in stages)
    return Burst(
        begin=begin,
        end=max(stage.end for stage in stages),
        idle=begin - before[-1].end if before else 0,
        stages=tuple(_in_order(stages)),
    )


def _in_order(stages: Sequence[Stage]) -> list[Stage]:
    """Operations by their beginning, each followed by its parts, also where several overlap."""
    wholes = [stage for stage in stages if stage.depth == 0]
    parts: dict[int, list[Stage]] = {index: [] for index in range(len(wholes))}
    strays: list[Stage] = []
    for stage in stages:
        if stage.depth == 0:
            continue
        index = _whole_of(stage, wholes)
        (strays if index is None else parts[index]).append(stage)
    ordered = [one for index, whole in enumerate(wholes) for one in (whole, *parts[index])]
    # Their whole is not over yet, or was not kept.
    return [*ordered, *strays]


def _whole_of(part: Stage, wholes: Sequence[Stage]) -> int | None:
    """The last whole of its operation that it begins in; a background part may end later."""
    found = None
    for index, whole in enumerate(wholes):
        same = (whole.operation, whole.subject) == (part.operation, part.subject)
        if same and whole.begin <= part.begin <= whole.end:
            found = index
    return found


def label(stage: Stage) -> str:
    """What a row is called: parts are indented below their operation."""
    if stage.depth == 0:
        words = stage.operation.replace("_", " ")
        return f"{words}: {stage.subject}" if stage.subject else words
    return "  " * stage.depth + stage.name


def duration(nanoseconds: int) -> str:
    """``0.31 ms``, ``41.2 ms``, ``3.27 s``, ``2 min 5 s``, ``3 h 12 min``."""
    ms = nanoseconds / 1e6
    if ms < 10:
        return f"{ms:.2f} ms"
    if ms < 1000:
        return f"{ms:.1f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def ticks(length: int, most: int = 6) -> list[int]:
    """Round times on an axis of ``length`` nanoseconds, from 0 on, at most ``most`` of them."""
    step = 1
    while length // step >= most:
        for factor in (1, 2, 5):
            if length // (step * factor) < most:
                step *= factor
                break
        else:
            step *= 10
    return list(range(0, length + 1, step))
