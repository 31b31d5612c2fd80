"""trilby config diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trilby.cli.config.files import dir_option, loaded, place, rows_of_host
from trilby.cli.output import Column, print_rows
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.cri.config_load import Change


@click.command("diff", epilog="Example: trilby config diff old.conf new.conf")
@click.argument("files", metavar="[FILE [FILE]]", nargs=-1)
@dir_option
@click.option("--format", metavar="FORMAT", default="", help="json, table or {{.Field}} template.")
@click.option(
    "--host",
    metavar="ADDRESS",
    default="",
    help="Compare what the daemon behind this socket, unix:///PATH or /PATH, has with the files.",
)
@click.option("-n", "--noheading", is_flag=True, help="No headings.")
@click.pass_obj
def command(
    settings: Settings,
    files: tuple[str, ...],
    config_dir: str,
    format: str,
    host: str,
    noheading: bool,
) -> None:
    """Show how the configuration differs from the defaults, or one file from another.

    Without FILE it is the configuration that counts; one FILE is compared with the defaults, two
    with each other. A FILE is read with FILE.d/*.conf. With --host what a running daemon has is
    compared with the files: that is what `trilby config reload` would change. Each line says when
    the change takes effect.
    """
    if len(files) > 2:
        raise click.UsageError("no more than two files can be compared")
    if host and files:
        raise click.UsageError("--host compares with the files that count; leave FILE out")
    found = _of_host(settings, config_dir, host) if host else _of_files(settings, config_dir, files)
    print_rows(found, _columns(), format=format, heading=not noheading, json=document)


def _of_files(settings: Settings, config_dir: str, files: tuple[str, ...]) -> list[Change]:
    from trilby.cri.config_load import changes, defaults, load

    if files:
        configs = [load(place(file)).config for file in files]
    else:
        configs = [loaded(settings, config_dir).config]
    if len(configs) == 1:
        configs.insert(0, defaults().config)
    return changes(*configs)


def _of_host(settings: Settings, config_dir: str, host: str) -> list[Change]:
    from trilby.cri.config_load import differences, values_of

    running = {row.key: row.value for row in rows_of_host(host)}
    return differences(running, values_of(loaded(settings, config_dir).config))


def _columns() -> list[Column[Change]]:
    from trilby.cri.config_text import change_texts

    return [
        Column("OPTION", "Key", lambda change: change.key),
        Column("OLD", "Old", lambda change: change_texts(change)[0]),
        Column("NEW", "New", lambda change: change_texts(change)[1]),
        Column("TAKES EFFECT", "Scope", lambda change: change.scope),
    ]


def document(change: Change) -> dict[str, object]:
    """A difference for machines; null where a runtime handler is not there."""
    return {
        "key": change.key,
        "old": change.old,
        "new": change.new,
        "scope": change.scope,
    }
