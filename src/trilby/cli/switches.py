"""Switches written as podman and skopeo take them: ``--tls-verify=false``, ``--quiet=true``."""

from __future__ import annotations

from collections.abc import Sequence

import click

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


def spelled_out(command: click.Command, args: Sequence[str]) -> list[str]:
    """Arguments of a command with each ``--switch=BOOL`` as click wants it.

    ``--tls-verify=false`` becomes ``--no-tls-verify``; what has no word for "no" is left out.

    Raises:
        click.UsageError: the value of a switch is neither true nor false.
    """
    if not command.context_settings.get("allow_interspersed_args", command.allow_interspersed_args):
        # The rest of such a line may be the command line of another program.
        return list(args)
    found: list[str] = []
    for number, arg in enumerate(args):
        if arg == "--":
            return [*found, *args[number:]]
        name, equals, value = arg.partition("=")
        switch = _switch(command, name) if equals and name.startswith("--") else None
        if switch is None:
            found.append(arg)
        elif value.lower() in _TRUE:
            found.append(name)
        elif value.lower() in _FALSE:
            found += switch.secondary_opts[-1:]
        else:
            raise click.UsageError(f"{name}: {value!r} is neither true nor false")
    return found


def _switch(command: click.Command, name: str) -> click.Option | None:
    """The option of that name, if it is one that is on or off."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and name in parameter.opts:
            return parameter if parameter.is_bool_flag else None
    return None
