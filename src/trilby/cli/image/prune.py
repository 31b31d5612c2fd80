"""trilby image prune."""

from __future__ import annotations

import click

from trilby.cli.image.remove import print_removed
from trilby.cli.output import human_size, json_flag
from trilby.cli.settings import Settings


@click.command("prune", epilog="Example: trilby image prune --all --filter until=24h")
@click.option("-a", "--all", "everything", is_flag=True, help="All that no container uses.")
@click.option(
    "--filter", "filters", metavar="KEY=VALUE", multiple=True, help="until=AGE, label=KEY[=VALUE]."
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@click.pass_obj
def command(
    settings: Settings,
    everything: bool,
    filters: tuple[str, ...],
    force: bool,
    dry_run: bool,
    format: str,
) -> None:
    """Remove images without a name, or with --all every image that no container uses."""
    as_json = json_flag(format)
    if not force and not dry_run:
        what = "all images without a container" if everything else "all images without a name"
        click.confirm(f"This removes {what}. Go on?", abort=True, err=True)
    with settings.images(recover=not dry_run) as images:
        removed = images.prune(all_unused=everything, filters=filters, dry_run=dry_run)
    print_removed(removed, as_json)
    if not as_json:
        click.echo(f"Freed: {human_size(sum(each.freed for each in removed))}", err=True)
