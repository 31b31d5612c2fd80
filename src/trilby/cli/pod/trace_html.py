"""A trace as one HTML file: nothing is loaded from elsewhere, and no script is needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import Final

from trilby.cli.pod.trace_model import Burst, Trace, bursts, duration, label, ticks
from trilby.pods.trace import Stage

#: A class of the style sheet for each operation; what is not here is grey.
KINDS: Final = {
    "run_sandbox": "sandbox",
    "pull_image": "pull",
    "create_container": "create",
    "start_container": "start",
    "exec": "exec",
    "stop_container": "stop",
    "remove_container": "stop",
    "stop_sandbox": "end",
    "remove_sandbox": "end",
}
LEGEND: Final = (
    ("sandbox", "run sandbox"),
    ("pull", "pull image"),
    ("create", "create container"),
    ("start", "start container"),
    ("exec", "exec"),
    ("stop", "stop or remove container"),
    ("end", "stop or remove sandbox"),
    ("failed", "failed"),
)

STYLE: Final = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --text: #1c2530; --soft: #5d6b7a; --line: #dfe5ec; --hover: #f2f5f9;
  --sandbox: #2f6fde; --create: #0b8f9c; --start: #2e9e4f; --exec: #9a4fd0; --stop: #c98a00;
  --pull: #c2407f;
  --end: #8a6d52; --other: #7a8794; --failed: #d1323f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181e; --text: #e2e8f0; --soft: #94a2b3; --line: #2b333d; --hover: #1d232b;
    --sandbox: #6aa0ff; --create: #3cc2cf; --start: #5bcb7d; --exec: #c48bf2; --stop: #f0b63a;
    --pull: #f07fb2;
    --end: #c2a283; --other: #9aa7b5; --failed: #ff6b76;
  }
}
* { box-sizing: border-box; }
body {
  margin: 2rem auto; max-width: 78rem; padding: 0 1.5rem;
  background: var(--ground); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif;
}
h1 { font-size: 1.5rem; margin: 0; font-weight: 650; }
h2 { font-size: 1rem; margin: 2.2rem 0 .6rem; color: var(--soft); font-weight: 600; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .92em; }
.facts { color: var(--soft); margin: .35rem 0 0; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 1.2rem 0 0; padding: 0;
  list-style: none; color: var(--soft); font-size: .88rem; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem;
  margin-right: .4rem; vertical-align: -.08rem; background: var(--kind); }
.chart { display: grid; grid-template-columns: minmax(11rem, max-content) 1fr max-content
  max-content; border-top: 1px solid var(--line); }
.row { display: grid; grid-column: 1 / -1; grid-template-columns: subgrid; align-items: center; }
.row:not(.axis):hover { background: var(--hover); }
.name { padding: .12rem 1rem .12rem 0; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; max-width: 26rem; }
.whole .name { font-weight: 600; padding-top: .45rem; }
.whole .number, .whole .track { padding-top: .45rem; }
.part .name { color: var(--soft); }
.number { text-align: right; padding-left: 1.1rem; font-variant-numeric: tabular-nums;
  white-space: nowrap; font-size: .9rem; }
.from { color: var(--soft); }
.track { position: relative; height: 100%; min-height: 1.5rem; }
.track u { position: absolute; top: 0; bottom: 0; width: 0; border-left: 1px solid var(--line); }
.bar { position: absolute; min-width: 3px; height: .85rem; bottom: .3rem; border-radius: .2rem;
  background: var(--kind); }
.part .bar { height: .55rem; bottom: .45rem; opacity: .72; }
.axis .track { min-height: 1.7rem; }
.axis .track span { position: absolute; bottom: .15rem; padding-left: .3rem; font-size: .8rem;
  color: var(--soft); white-space: nowrap; }
.axis .number { font-size: .8rem; color: var(--soft); align-self: end; }
.error { grid-column: 1 / -1; color: var(--failed); padding: 0 0 .3rem; font-size: .9rem;
  overflow-wrap: anywhere; }
.sandbox { --kind: var(--sandbox); } .pull { --kind: var(--pull); }
.create { --kind: var(--create); }
.start { --kind: var(--start); } .exec { --kind: var(--exec); } .stop { --kind: var(--stop); }
.end { --kind: var(--end); } .other { --kind: var(--other); } .failed { --kind: var(--failed); }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem; }
@media print { body { margin: 0; max-width: none; } .row { break-inside: avoid; } }
"""


def page(trace: Trace) -> str:
    """The whole document."""
    return "".join(_page(trace))


def _page(trace: Trace) -> Iterator[str]:
    title = f"Trace of pod {trace.title}"
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    yield f"<h1>{escape(trace.name or 'pod')}</h1>\n"
    yield f'<p class="facts">sandbox <code>{escape(trace.sandbox_id)}</code></p>\n'
    found = bursts(trace)
    used = {_kind(stage) for stage in trace.stages}
    yield '<ul class="legend">'
    for kind, words in LEGEND:
        if kind in used:
            yield f'<li><i class="{kind}"></i>{words}</li>'
    yield "</ul>\n"
    for number, burst in enumerate(found):
        yield from _burst(burst, number)
    yield "<footer>Parts stand below their operation; what overlaps was done at the same time."
    yield " Made by <code>trilby pod trace</code>.</footer>\n</body>\n</html>\n"


def _burst(burst: Burst, number: int) -> Iterator[str]:
    begun = datetime.fromtimestamp(burst.begin / 1e9).astimezone()
    when = f"{begun:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"{begun:%z}"
    later = f"{duration(burst.idle)} later, " if number else ""
    yield f"<h2>{later}{when}, {duration(burst.length)}</h2>\n"
    yield '<section class="chart">\n'
    yield _axis(burst)
    lines = "".join(f'<u style="left:{_percent(t / burst.length)}"></u>' for t in _ticks(burst))
    for stage in burst.stages:
        yield _row(burst, stage, lines)
    yield "</section>\n"


def _ticks(burst: Burst) -> list[int]:
    return ticks(burst.length, 8)


def _axis(burst: Burst) -> str:
    marks = "".join(
        f'<u style="left:{_percent(tick / burst.length)}"></u>'
        f'<span style="left:{_percent(tick / burst.length)}">{_round(tick)}</span>'
        # The last one would lie across the numbers.
        for tick in _ticks(burst)
        if tick < burst.length * 0.95
    )
    return (
        f'<div class="row axis"><div></div><div class="track">{marks}</div>'
        '<div class="number">from</div><div class="number">took</div></div>\n'
    )


def _row(burst: Burst, stage: Stage, lines: str) -> str:
    start, length = burst.place(stage)
    start = min(start, 1.0)
    length = min(length, 1.0 - start)
    name, took = label(stage).strip(), duration(stage.end - stage.begin)
    begun = duration(stage.begin - burst.begin)
    indent = f"padding-left:{stage.depth * 1.1:.1f}rem"
    hint = escape(f"{label(stage).strip()}: {took}, from {begun} on", quote=True)
    error = f'<div class="error">{escape(stage.error)}</div>' if stage.error else ""
    return (
        f'<div class="row {"part" if stage.depth else "whole"}" title="{hint}">'
        f'<div class="name" style="{indent}">{escape(name)}</div>'
        f'<div class="track">{lines}<div class="bar {_kind(stage)}" '
        f'style="left:{_percent(start)};width:{_percent(length)}"></div></div>'
        f'<div class="number from">{begun}</div><div class="number">{took}</div>{error}</div>\n'
    )


def _kind(stage: Stage) -> str:
    return "failed" if stage.error else KINDS.get(stage.operation, "other")


def _percent(part: float) -> str:
    return f"{part * 100:.3f}%"


def _round(nanoseconds: int) -> str:
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1e6:g} ms"
    return f"{nanoseconds / 1e9:g} s"
