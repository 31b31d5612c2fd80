"""trilby image history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from trilby.cli.names import image_names
from trilby.cli.output import Column, human_size, print_rows, short_id
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.image.service import HistoryEntry


@click.command("history", epilog="Example: trilby image history --no-trunc busybox")
@click.argument("name", metavar="IMAGE", shell_complete=image_names)
@click.option("--format", metavar="FORMAT", default="", help="json, table or {{.Field}} template.")
@click.option("--no-trunc", is_flag=True, help="Whole ids and commands.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.pass_obj
def command(settings: Settings, name: str, format: str, no_trunc: bool, quiet: bool) -> None:
    """Show how an image was built, the newest step first."""
    with settings.images() as images:
        entries = images.history(name)
    if quiet:
        for entry in entries:
            click.echo(entry.id if no_trunc else short_id(entry.id))
        return

    def cut(text: str) -> str:
        return text if no_trunc or len(text) <= 45 else text[:42] + "..."

    def identifier(entry: HistoryEntry) -> str:
        return entry.id if no_trunc else short_id(entry.id)

    columns = [
        Column("ID", "ID", identifier),
        Column["HistoryEntry"]("CREATED", "Created", lambda entry: entry.created),
        Column["HistoryEntry"]("CREATED BY", "CreatedBy", lambda entry: cut(entry.created_by)),
        Column["HistoryEntry"]("SIZE", "Size", lambda entry: human_size(entry.size)),
        Column["HistoryEntry"]("COMMENT", "Comment", lambda entry: cut(entry.comment)),
    ]
    print_rows(entries, columns, format=format, json=msgspec.to_builtins)
