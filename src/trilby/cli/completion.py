"""trilby completion."""

from __future__ import annotations

import click


@click.command(
    "completion", epilog="Example: trilby completion bash > /etc/bash_completion.d/trilby"
)
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
@click.argument("program", type=click.Choice(["trilby", "trilbyd"]), default="trilby")
def command(shell: str, program: str) -> None:
    """Print the completion script of a shell, for trilby or for trilbyd."""
    from click.shell_completion import get_completion_class

    from trilby.cli import daemon
    from trilby.cli.main import root_group

    kind = get_completion_class(shell)
    assert kind is not None, "click completes the shells that the argument allows"
    completed = root_group() if program == "trilby" else daemon.command
    click.echo(kind(completed, {}, program, f"_{program.upper()}_COMPLETE").source())
