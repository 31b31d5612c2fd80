"""trilby image unmount."""

from __future__ import annotations

import click

from trilby.cli.names import image_names
from trilby.cli.settings import Settings


@click.command("unmount", epilog="Example: trilby image unmount busybox")
@click.argument("names", metavar="[IMAGE]...", nargs=-1, shell_complete=image_names)
@click.option("-a", "--all", "everything", is_flag=True, help="Every mounted image.")
@click.option("-f", "--force", is_flag=True, help="All mounts of it, not only the last one.")
@click.pass_obj
def command(settings: Settings, names: tuple[str, ...], everything: bool, force: bool) -> None:
    """Undo trilby image mount; an image that is mounted several times stays until the last."""
    if bool(names) == everything:
        raise click.UsageError("give image names, or --all")
    with settings.images() as images:
        if everything:
            names = tuple(image.id for image, _, _ in images.store.image_mounts())
        for name in names:
            images.unmount(name, force=force)
            click.echo(name)
