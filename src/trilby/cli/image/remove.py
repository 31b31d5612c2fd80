"""trilby image remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trilby.cli.host import host_option
from trilby.cli.names import image_names
from trilby.cli.output import json_flag, print_json
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trilby.image.service import Removed


@click.command("remove", epilog="Example: trilby image remove registry.example.com/base:1")
@click.argument("names", metavar="[IMAGE]...", nargs=-1, shell_complete=image_names)
@click.option("-a", "--all", "everything", is_flag=True, help="Every image.")
@click.option("-f", "--force", is_flag=True, help="Also an image that has several names.")
@click.option("-i", "--ignore", is_flag=True, help="An image that is not there is no error.")
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@host_option
@click.pass_obj
def command(
    settings: Settings,
    names: tuple[str, ...],
    everything: bool,
    force: bool,
    ignore: bool,
    format: str,
    host: str,
) -> None:
    """Remove images by name or id; one of several names is only untagged.

    A daemon that is asked by --host removes an image with all its names, and does so only with
    --force if there are several.
    """
    from trilby.errors import NotFound

    as_json = json_flag(format)
    if bool(names) == everything:
        raise click.UsageError("give image names, or --all")
    if host:
        from trilby.cli.image.remote import remove_images

        print_removed(remove_images(host, names, force=force, ignore=ignore), as_json)
        return
    removed: list[Removed] = []
    with settings.images() as images:
        if everything:
            names = tuple(image.id for image in images.list() if not image.read_only)
        for name in names:
            try:
                removed += images.remove([name], force=force or everything)
            except NotFound:
                if not ignore:
                    raise
    print_removed(removed, as_json)


def print_removed(removed: Iterable[Removed], as_json: bool) -> None:
    """What went, a line each as podman rmi tells it."""
    if as_json:
        print_json(list(removed))
        return
    for each in removed:
        for name in each.untagged:
            click.echo(f"Untagged: {name}")
        if each.deleted:
            click.echo(f"Deleted: {each.deleted}")
