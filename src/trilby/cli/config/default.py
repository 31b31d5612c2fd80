"""trilby config default."""

from __future__ import annotations

import click


@click.command("default", epilog="Example: trilby config default >/etc/trilby/trilby.conf")
def command() -> None:
    """Print a trilby.conf that has every option, with what it means and its default.

    The options are comments. No file is read.
    """
    from trilby.cri.config_text import default_file

    click.echo(default_file(), nl=False)
