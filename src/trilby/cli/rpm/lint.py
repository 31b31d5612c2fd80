"""trilby rpm lint."""

from __future__ import annotations

import os

import click
import msgspec

from trilby.cli.output import json_flag, print_json
from trilby.cli.rpm.options import packages_of, tools_of, tools_option

_CONFIG = os.path.join("spec", "rpmlint.toml")


@click.command("lint", epilog="Example: trilby rpm lint spec/trilby.spec build/rpms")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--config",
    metavar="FILE",
    default="",
    help="rpmlint's configuration; without it spec/rpmlint.toml, if it is there.",
)
@tools_option
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
def command(paths: tuple[str, ...], config: str, tools: str, format: str) -> int:
    """Check packages and specs with rpmlint; directories mean all packages below.

    Ends with 1 if there is an error or a warning that no filter explains.
    """
    from trilby.rpm.lint import lint

    as_json = json_flag(format)
    config = config or (_CONFIG if os.path.exists(_CONFIG) else "")
    found = lint(packages_of(paths), config=config, tools=tools_of(tools))
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        for each in found.findings:
            click.echo(f"{each.where}: {each.level}: {each.check} {each.detail}".rstrip())
        counts = f"{found.errors} errors, {found.warnings} warnings"
        click.echo(f"{counts}, {found.filtered} explained by filters")
    return int(bool(found.errors or found.warnings))
