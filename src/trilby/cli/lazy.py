"""A click group whose commands are imported only when they are named.

``trilby image list`` must not pay for the registry client, nor ``--help`` for anything at all.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from trilby.cli.switches import spelled_out


class LazyGroup(click.Group):
    """Commands from a table of name -> (module, one line of help).

    The module has the command in an attribute ``command``.
    """

    def __init__(
        self,
        name: str,
        table: Mapping[str, tuple[str, str]],
        *,
        help: str,
        epilog: str = "",
        params: list[click.Parameter] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, help=help, epilog=epilog or None, params=params)
        self.table = table
        self.aliases = aliases or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = self.aliases.get(cmd_name, cmd_name)
        if cmd_name not in self.table:
            return None
        try:
            module = importlib.import_module(self.table[cmd_name][0])
        except ModuleNotFoundError as error:
            if error.name and self.table[cmd_name][0].startswith(error.name):
                return None  # it is in a package of its own, which is not installed
            raise
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in (*self.table, *self.aliases):
            import difflib

            near = difflib.get_close_matches(name, self.table, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        if name in self.table and self.get_command(ctx, name) is None:
            ctx.fail(f"{name!r} is not installed; Fedora has it in the package trilby-{name}.")
        resolved, command, rest = super().resolve_command(ctx, args)
        if command is not None and not isinstance(command, click.Group):
            rest = spelled_out(command, rest)
        return resolved, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])
