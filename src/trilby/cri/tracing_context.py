"""W3C Trace Context: which trace a caller is in, and whether it is recorded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Final

import msgspec

SAMPLED: Final = 1

#: version "-" trace-id "-" parent-id "-" flags; later versions may go on after another dash.
_TRACEPARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<rest>-.*)?"
)
_STATE_LIMIT: Final = 512


class SpanContext(msgspec.Struct, frozen=True):
    """A span as others refer to it; ``state`` is the vendors' part, handed on as it came."""

    trace_id: bytes
    span_id: bytes
    flags: int = SAMPLED
    state: str = ""

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)

    def child(self) -> SpanContext:
        """The context of a new span of the same trace."""
        return SpanContext(self.trace_id, os.urandom(8), self.flags, self.state)


def new_trace() -> SpanContext:
    """The first span of a trace."""
    return SpanContext(os.urandom(16), os.urandom(8))


def parse_traceparent(text: str, state: str = "") -> SpanContext | None:
    """None for what the specification says to ignore."""
    found = _TRACEPARENT.fullmatch(text.strip())
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["rest"]):
        return None
    trace_id, span_id = bytes.fromhex(found["trace"]), bytes.fromhex(found["span"])
    if not any(trace_id) or not any(span_id):
        return None
    if len(state) > _STATE_LIMIT:
        state = ""
    # Of the flags of later versions only the first bit is known to mean the same.
    return SpanContext(trace_id, span_id, int(found["flags"], 16) & SAMPLED, state)


def caller(metadata: Iterable[tuple[str, str | bytes]]) -> SpanContext | None:
    """The caller's span, from the metadata of its call; None when it is in no trace."""
    parents: list[str] = []
    states: list[str] = []
    for key, value in metadata:
        text = value if isinstance(value, str) else value.decode("ascii", "replace")
        if key == "traceparent":
            parents.append(text)
        elif key == "tracestate":
            states.append(text)
    # More than one parent is none.
    return parse_traceparent(parents[0], ",".join(states)) if len(parents) == 1 else None


def within(trace_id: bytes, per_million: int) -> bool:
    """Whether a trace that begins here is recorded: by its id, so that all services agree."""
    return int.from_bytes(trace_id[8:], "big") < (per_million << 64) // 1_000_000
