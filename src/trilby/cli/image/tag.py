"""trilby image tag."""

from __future__ import annotations

import click

from trilby.cli.names import image_names
from trilby.cli.settings import Settings


@click.command("tag", epilog="Example: trilby image tag busybox registry.example.com/base:1")
@click.argument("name", metavar="IMAGE", shell_complete=image_names)
@click.argument("new_names", metavar="NAME...", nargs=-1, required=True)
@click.pass_obj
def command(settings: Settings, name: str, new_names: tuple[str, ...]) -> None:
    """Give an image further names; another image that has one of them loses it."""
    with settings.images() as images:
        images.tag(name, *new_names)
