"""What the benchmarks found: a table for people, JSON for machines."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One measured thing. ``values`` are all rounds; ``value`` is their median.

    ``ratio`` is ours divided by the peer named in ``against``; ``goal`` is an upper limit.
    """

    name: str
    unit: str
    value: float
    values: tuple[float, ...] = ()
    against: str = ""
    ratio: float | None = None
    goal: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        measured = self.ratio if self.unit == "ratio" and self.ratio is not None else self.value
        return "reached" if measured <= self.goal else "MISSED"


class Section(msgspec.Struct, kw_only=True):
    """One benchmark: how it measured, what it measured."""

    title: str
    method: str
    lines: list[Line] = msgspec.field(default_factory=list)


HEADINGS = ("", "median", "min", "max", "ratio", "goal", "")


def show(machine: dict[str, str], sections: list[Section]) -> str:
    """All of it as text."""
    parts = ["\n".join(f"{name}: {value}" for name, value in machine.items())]
    for section in sections:
        parts.append(f"{section.title}\n{'-' * len(section.title)}\n{section.method}\n")
        parts[-1] += _table(section.lines)
    return "\n\n".join(parts)


def _table(lines: list[Line]) -> str:
    cells = [HEADINGS, *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    text = []
    for row in cells:
        padded = [row[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(row[1:6], widths[1:6], strict=True)]
        text.append("  ".join([*padded, row[6]]).rstrip())
    return "\n".join(text)


def _cells(line: Line) -> tuple[str, ...]:
    ends = (min(line.values), max(line.values)) if len(line.values) > 1 else ()
    smallest, largest = (_number(end) for end in ends) if ends else ("", "")
    ratio = f"{line.ratio:.2f} x {line.against}" if line.ratio is not None else ""
    goal = f"{_number(line.goal)} {line.verdict}" if line.goal is not None else ""
    return (
        line.name,
        f"{_number(line.value)} {line.unit}",
        smallest,
        largest,
        ratio,
        goal,
        line.note,
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def encode(machine: dict[str, str], sections: list[Section]) -> bytes:
    """All of it as JSON, with every round's value."""
    raw = msgspec.json.encode({"machine": machine, "sections": sections})
    return msgspec.json.format(raw, indent=2) + b"\n"
