"""What commands print on stdout: tables for people, JSON and templates for machines.

``--format`` is podman's: ``json``, ``table``, or a template of ``{{.Field}}`` with ``\\t`` and
``\\n``; ``table {{.A}}\\t{{.B}}`` chooses the columns of the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import click
import msgspec

T = TypeVar("T")

_FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


class Column(Generic[T]):
    """One column: the heading, the field's name in templates, and how a row is shown."""

    __slots__ = ("field", "show", "title")

    def __init__(self, title: str, field: str, show: Callable[[T], str]) -> None:
        self.title = title
        self.field = field
        self.show = show


def print_rows(
    rows: Sequence[T],
    columns: Sequence[Column[T]],
    *,
    format: str = "",
    heading: bool = True,
    json: Callable[[T], object],
    more: Sequence[Column[T]] = (),
) -> None:
    """Rows as ``--format`` asks; ``more`` are columns that only a template shows."""
    if format == "json":
        print_json([json(row) for row in rows])
        return
    if format in ("", "table"):
        _table(rows, columns, heading)
        return
    known = {column.field: column for column in (*columns, *more)}
    if format.startswith("table "):
        template = format.removeprefix("table ")
        chosen = [_known(known, match.group(1)) for match in _FIELD.finditer(template)]
        _table(rows, chosen, heading)
        return
    for row in rows:
        click.echo(render(format, {name: column.show(row) for name, column in known.items()}))


def render(template: str, values: dict[str, str]) -> str:
    """A template with each ``{{.Field}}`` replaced.

    Raises:
        click.UsageError: for a field that is not there, naming those that are.
    """

    def value(match: re.Match[str]) -> str:
        return _known(values, match.group(1))

    template = template.replace("\\t", "\t").replace("\\n", "\n")
    if "{{" in _FIELD.sub("", template):
        raise click.UsageError("--format takes json, table or {{.Field}} only")
    return _FIELD.sub(value, template)


def _known(fields: dict[str, T], name: str) -> T:
    if name not in fields:
        raise click.UsageError(f"--format: no field {name}; there are {', '.join(sorted(fields))}")
    return fields[name]


def _table(rows: Sequence[T], columns: Sequence[Column[T]], heading: bool) -> None:
    lines = [[column.show(row) for column in columns] for row in rows]
    if heading:
        lines.insert(0, [column.title for column in columns])
    if not lines:
        return
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    click.echo("\n".join(text))


def json_flag(format: str) -> bool:
    """Whether ``--format`` of a command that prints one result asks for JSON.

    Raises:
        click.UsageError: it asks for something else.
    """
    if format not in ("", "json"):
        raise click.UsageError(f"--format {format}: only json is possible here")
    return format == "json"


def print_json(value: object) -> None:
    """A value as indented JSON with a final newline."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=4))


def human_size(count: int | float) -> str:
    """Bytes in decimal units with three digits, as podman shows them: ``4.86 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def human_age(seconds: float) -> str:
    """How long ago, in the largest unit that fits: ``3 hours ago``."""
    if seconds < 2:
        return "1 second ago" if seconds >= 1 else "less than a second ago"
    for unit, length in (
        ("year", 365 * 86400),
        ("month", 30 * 86400),
        ("week", 7 * 86400),
        ("day", 86400),
        ("hour", 3600),
        ("minute", 60),
        ("second", 1),
    ):
        count = int(seconds // length)
        if count >= 1 and not (unit == "week" and count < 2):
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "now"


def short_id(identifier: str) -> str:
    """The first 12 digits of an id."""
    return identifier.removeprefix("sha256:")[:12]
