"""A trace in the terminal: one bar a stage, by time."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Final

from trilby.cli.pod.trace_model import Burst, Trace, bursts, duration, label, ticks

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from trilby.pods.trace import Stage

#: Columns where no terminal says how many there are.
WIDTH: Final = 110
#: Eighths of a column.
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
COLORS: Final = {
    "run_sandbox": "blue",
    "pull_image": "bright_magenta",
    "create_container": "cyan",
    "start_container": "green",
    "exec": "magenta",
    "stop_container": "yellow",
    "remove_container": "yellow",
    "stop_sandbox": "bright_yellow",
    "remove_sandbox": "bright_yellow",
}


def show(trace: Trace) -> None:
    """Print it to stdout."""
    from rich.console import Console
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    found = bursts(trace)
    begun = datetime.fromtimestamp(found[0].begin / 1e9).astimezone() if found else None
    when = f", begun {begun:%Y-%m-%d %H:%M:%S}" if begun else ""
    console.print(Text.assemble((f"pod {trace.title}", "bold"), when))
    for burst in found:
        if burst.idle:
            console.print(f"\n... {duration(burst.idle)} later", style="dim")
        _show_burst(console, burst)


def _show_burst(console: Console, burst: Burst) -> None:
    from rich.text import Text

    names = max(len(label(stage)) for stage in burst.stages)
    numbers = 11
    room = max(console.width - names - 2 - 2 * numbers, 20)
    axis = Text(" " * (names + 2) + _axis(burst.length, room), style="dim")
    axis.append("from".rjust(numbers) + "took".rjust(numbers))
    console.print(axis, no_wrap=True, overflow="crop")
    for stage in burst.stages:
        console.print(_row(burst, stage, names, room, numbers), no_wrap=True, overflow="crop")
        if stage.error:
            console.print(Text(f"{' ' * (names + 2)}! {stage.error}", style="red"))


def _row(burst: Burst, stage: Stage, names: int, room: int, numbers: int) -> Text:
    from rich.text import Text

    color = "red" if stage.error else COLORS.get(stage.operation, "white")
    row = Text(label(stage).ljust(names + 2), style="bold" if stage.depth == 0 else "")
    start, length = burst.place(stage)
    row.append(bar(start, length, room), style=color if stage.depth == 0 else f"{color} dim")
    row.append(duration(stage.begin - burst.begin).rjust(numbers), style="dim")
    row.append(duration(stage.end - stage.begin).rjust(numbers))
    return row


def bar(start: float, length: float, room: int) -> str:
    """A bar of ``room`` columns; one that is too short to be seen is the thinnest there is."""
    begin = min(int(start * room), room - 1)
    eighths = max(round(length * room * 8), 1)
    eighths = min(eighths, (room - begin) * 8)
    whole, rest = divmod(eighths, 8)
    text = " " * begin + _BLOCKS[8] * whole + (_BLOCKS[rest] if rest else "")
    return text.ljust(room)


def _axis(length: int, room: int) -> str:
    """Round times above the places where they are."""
    line = [" "] * room
    end = 0
    for tick in ticks(length, max(room // 12, 2)):
        text = "0" if tick == 0 else _short(tick)
        place = int(tick / length * room)
        if place < end or place + len(text) > room:
            continue
        line[place : place + len(text)] = text
        end = place + len(text) + 1
    return "".join(line)


def _short(nanoseconds: int) -> str:
    value, unit = (nanoseconds / 1e6, "ms") if nanoseconds < 1e9 else (nanoseconds / 1e9, "s")
    return f"{value:g} {unit}"
