"""trilby completion."""

from __future__ import annotations

import click


@click.command(
    "completion", epilog="Example: trilby completion bash > /etc/bash_completion.d/trilby"
)
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
def command(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from trilby.cli.main import root_group

    kind = get_completion_class(shell)
    assert kind is not None, "click completes the shells that the argument allows"
    click.echo(kind(root_group(), {}, "trilby", "_TRILBY_COMPLETE").source())
