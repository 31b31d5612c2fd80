"""A trace in the Trace Event Format: chrome://tracing, Perfetto and speedscope read it."""

from __future__ import annotations

from collections.abc import Sequence

from trilby.cli.pod.trace_model import Trace
from trilby.pods.trace import Stage

Event = dict[str, object]


def document(trace: Trace) -> dict[str, object]:
    """Complete events ("X"), in microseconds from the first one on; ``otherData`` has its time.

    A row is one container or the pod itself.

    What overlaps without being inside of the other gets a row of its own: on one row the format
    wants events nested.
    """
    zero = min((stage.begin for stage in trace.stages), default=0)
    events: list[Event] = [_named("process_name", 0, f"pod {trace.title}")]
    number = 0
    for subject in dict.fromkeys(stage.subject for stage in trace.stages):
        stages = [stage for stage in trace.stages if stage.subject == subject]
        for lane in lanes(stages):
            number += 1
            events.append(_named("thread_name", number, subject or "pod"))
            events.append(
                {
                    "name": "thread_sort_index",
                    "ph": "M",
                    "pid": 1,
                    "tid": number,
                    "args": {"sort_index": number},
                }
            )
            events += [_event(stage, number, zero) for stage in lane]
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "pod": trace.name,
            "sandbox": trace.sandbox_id,
            "begin": zero,
            "producer": "trilby",
        },
    }


def _named(kind: str, thread: int, name: str) -> Event:
    return {"name": kind, "ph": "M", "pid": 1, "tid": thread, "args": {"name": name}}


def _event(stage: Stage, thread: int, zero: int) -> Event:
    event: Event = {
        "name": stage.name if stage.depth else stage.operation,
        "cat": stage.operation,
        "ph": "X",
        "ts": (stage.begin - zero) / 1000,
        "dur": (stage.end - stage.begin) / 1000,
        "pid": 1,
        "tid": thread,
        "args": {"operation": stage.operation},
    }
    if stage.error:
        event |= {"cname": "terrible", "args": {"operation": stage.operation, "error": stage.error}}
    return event


def lanes(stages: Sequence[Stage]) -> list[list[Stage]]:
    """The stages on as few rows as their nesting allows, each row properly nested."""
    found: list[list[Stage]] = []
    open_: list[list[Stage]] = []  # what is not over yet on each row, the innermost last
    for stage in sorted(stages, key=lambda one: (one.begin, -one.end, one.depth)):
        for lane, stack in zip(found, open_, strict=True):
            while stack and stack[-1].end <= stage.begin:
                stack.pop()
            if not stack or stage.end <= stack[-1].end:
                lane.append(stage)
                stack.append(stage)
                break
        else:
            found.append([stage])
            open_.append([stage])
    return found
