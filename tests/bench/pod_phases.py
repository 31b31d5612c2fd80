"""Where the time of pods goes: every moment of a step is given to whoever is at work then.

runc before conmon before CNI before ours: what runs beside something earlier in that order costs
no time of its own. In-kernel work is part of each; the CPU figures tell how much.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.bench.measure import median
from tests.bench.report import Line
from tests.bench.spawns import Life

from trilby.pods import monitor

CNI = ("bridge", "host-local", "portmap", "firewall", "loopback", "iptables", "ip6tables")
WHO = ("runc", "conmon", "CNI", "ours")

Span = tuple[float, float]


@contextmanager
def monitor_spans(spans: list[Span]) -> Iterator[None]:
    """Notes from when to when conmon was waited for (it outlives every one of its calls)."""
    original: Callable[..., Awaitable[monitor.Monitored]] = monitor.create

    async def noted(*arguments: object) -> monitor.Monitored:
        start = time.monotonic()
        try:
            return await original(*arguments)
        finally:
            spans.append((start, time.monotonic()))

    monitor.create = noted  # type: ignore[assignment]  # for the length of the context
    try:
        yield
    finally:
        monitor.create = original  # type: ignore[assignment]  # as above


def divide(span: Span, lives: Sequence[Life], conmon: Sequence[Span]) -> dict[str, float]:
    """Seconds of ``span`` by whose they are; the four add up to the whole."""
    runc = [(life.start, life.end) for life in lives if _is_runc(life)]
    network = [(life.start, life.end) for life in lives if _program(life) in CNI]
    taken: list[Span] = []
    shares = {}
    for who, spans in (("runc", runc), ("conmon", list(conmon)), ("CNI", network)):
        before = _length(taken, span)
        taken += spans
        shares[who] = _length(taken, span) - before
    shares["ours"] = span[1] - span[0] - sum(shares.values())
    return shares


def lines(
    step: str, spans: Sequence[Span], lives: Sequence[Life], conmon: Sequence[Span]
) -> list[Line]:
    """One line per party, medians over the rounds of one step."""
    divided = [divide(span, lives, conmon) for span in spans]
    found = []
    for who in WHO:
        values = [shares[who] * 1000 for shares in divided]
        if max(values) > 0:
            note = _programs(spans, lives, who)
            found.append(
                Line(
                    name=f"  {step}: {who}",
                    unit="ms",
                    value=median(values),
                    values=tuple(values),
                    note=note,
                )
            )
    return found


def _programs(spans: Sequence[Span], lives: Sequence[Life], who: str) -> str:
    """Median life and number per round of each program of a party."""
    if who not in ("runc", "CNI"):
        return ""
    times: dict[str, list[float]] = {}
    for life in lives:
        mine = _is_runc(life) if who == "runc" else _program(life) in CNI
        if mine and any(start <= life.start < end for start, end in spans):
            times.setdefault(life.name, []).append((life.end - life.start) * 1000)
    return ", ".join(
        f"{name} {median(values):.1f}"
        + (f" x {count}" if (count := round(len(values) / len(spans))) > 1 else "")
        for name, values in sorted(times.items())
    )


def _program(life: Life) -> str:
    name = life.name.partition(" ")[0]
    return {"xtables-nft-multi": "iptables", "xtables-legacy-multi": "iptables"}.get(name, name)


def _is_runc(life: Life) -> bool:
    """Its ``init`` waits for the program to be let go; that is nobody's work."""
    return (
        life.name.startswith("runc")
        and life.name != "runc init"
        and not (life.parent.startswith("runc"))
    )


def _length(spans: Sequence[Span], within: Span) -> float:
    """Of the union of spans, inside another."""
    total, reached = 0.0, within[0]
    for start, end in sorted(spans):
        start, end = max(start, reached), min(end, within[1])
        if end > start:
            total += end - start
            reached = end
    return total
