"""trilby image untag."""

from __future__ import annotations

import click

from trilby.cli.names import image_names
from trilby.cli.settings import Settings


@click.command("untag", epilog="Example: trilby image untag busybox localhost/busybox:old")
@click.argument("name", metavar="IMAGE", shell_complete=image_names)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.pass_obj
def command(settings: Settings, name: str, names: tuple[str, ...]) -> None:
    """Take names from an image, all of them if none is given; the image itself stays."""
    with settings.images() as images:
        images.untag(name, *names)
