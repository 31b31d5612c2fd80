"""trilby image mount."""

from __future__ import annotations

import click

from trilby.cli.names import image_names
from trilby.cli.output import json_flag, print_json
from trilby.cli.settings import Settings


@click.command("mount", epilog="Example: ls $(trilby image mount busybox)/bin")
@click.argument("names", metavar="[IMAGE]...", nargs=-1, shell_complete=image_names)
@click.option("-a", "--all", "everything", is_flag=True, help="Every image.")
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@click.pass_obj
def command(settings: Settings, names: tuple[str, ...], everything: bool, format: str) -> None:
    """Mount images read-only and print where; without a name list what is mounted."""
    as_json = json_flag(format)
    with settings.images() as images:
        if everything:
            names = tuple(image.id for image in images.list())
        if names:
            found = {name: str(images.mount(name)) for name in names}
        else:
            mounted = images.store.image_mounts()
            found = {(image.names or (image.id,))[0]: path for image, path, _ in mounted}
    if as_json:
        print_json([{"image": name, "mountpoint": path} for name, path in found.items()])
    elif len(names) == 1 and not everything:
        click.echo(found[names[0]])
    else:
        for name, path in found.items():
            click.echo(f"{name}  {path}")
