"""trilby config show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trilby.cli.config.files import below, dir_option, loaded, rows_of_host
from trilby.cli.host import host_option
from trilby.cli.output import Column, print_rows
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.cri.config_text import Row


@click.command(
    "show", epilog="Example: trilby config show trilby.api --format '{{.Key}} {{.Value}}'"
)
@click.argument("key", metavar="[OPTION|TABLE]", default="")
@click.option("--changed", is_flag=True, help="Only options that are not at their defaults.")
@click.option("--sources", is_flag=True, help="Only the files that are read, in their order.")
@dir_option
@click.option("--format", metavar="FORMAT", default="", help="json, table or {{.Field}} template.")
@host_option
@click.option("-n", "--noheading", is_flag=True, help="No headings.")
@click.pass_obj
def command(
    settings: Settings,
    key: str,
    changed: bool,
    sources: bool,
    config_dir: str,
    format: str,
    host: str,
    noheading: bool,
) -> None:
    """Show the value of every option of trilby.conf, and where it comes from.

    The origin is a file with line and column, a flag, storage.conf, or the built in default. Of a
    running daemon it is what counts there, which may be older than the files.
    """
    from trilby.cri.config_text import rows

    if sources:
        for path in loaded(settings, config_dir).sources:
            click.echo(path)
        return
    found = rows_of_host(host) if host else rows(loaded(settings, config_dir))
    if key:
        found = below(found, key)
    if changed:
        found = [row for row in found if not row.default]
    print_rows(found, _columns(), format=format, heading=not noheading, json=document, more=_more())


def _columns() -> list[Column[Row]]:
    return [
        Column("OPTION", "Key", lambda row: row.key),
        Column("VALUE", "Value", shown),
        Column("ORIGIN", "Origin", lambda row: row.origin),
    ]


def _more() -> list[Column[Row]]:
    return [
        Column("TAKES EFFECT", "Scope", lambda row: row.scope),
        Column("DEFAULT", "Default", lambda row: str(row.default).lower()),
    ]


def shown(row: Row) -> str:
    """A text as it is, everything else as it is written in the file."""
    from trilby.cri.config_text import row_text

    return row.value if isinstance(row.value, str) and row.value else row_text(row.key, row.value)


def document(row: Row) -> dict[str, object]:
    """An option for machines."""
    return {field: getattr(row, field) for field in row.__struct_fields__}
