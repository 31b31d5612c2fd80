"""trilby node facts."""

from __future__ import annotations

import click

from trilby.cli.node.settings import format_option, host_options, node_of
from trilby.cli.output import print_json
from trilby.cli.settings import Settings


@click.command("facts", epilog="Example: trilby node facts --format json")
@host_options
@format_option("table, or json for machines.")
@click.pass_obj
def command(
    settings: Settings, config_file: str, kubelet_config: str, host_root: str, format: str
) -> None:
    """Show versions, settings and digests of configuration files that pods of a host depend on.

    Two nodes that show the same run pods alike. Files are told by SHA-256 of what they hold; ids
    that are secret are told by a digest, too.
    """
    from trilby.node.facts import facts_of

    found = facts_of(node_of(settings, config_file, host_root, kubelet_config))
    if format == "json":
        print_json(found)
        return
    for group, values in found.items():
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            click.echo(f"{group:10} {name:{width}}  {value}")
