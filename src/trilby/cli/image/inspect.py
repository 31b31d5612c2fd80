"""trilby image inspect."""

from __future__ import annotations

import sys

import click

from trilby.cli.host import host_option
from trilby.cli.names import image_names
from trilby.cli.output import print_json
from trilby.cli.settings import Settings


@click.command("inspect", epilog="Example: trilby image inspect --config busybox")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True, shell_complete=image_names)
@click.option("--raw", is_flag=True, help="The manifest, byte for byte.")
@click.option("--config", "config", is_flag=True, help="The image's config document.")
@click.option("--format", metavar="FORMAT", default="", help="json, or a {{.Field}} template.")
@host_option
@click.pass_obj
def command(
    settings: Settings, names: tuple[str, ...], raw: bool, config: bool, format: str, host: str
) -> None:
    """Show all that is known of images of the store, as a JSON array.

    Of a daemon's images (--host) that is less, and in the CRI's words.
    """
    if raw and config:
        raise click.UsageError("--raw and --config exclude each other")
    if host:
        from trilby.cli.image.remote import inspect_images

        if raw or config:
            raise click.UsageError("--raw and --config: a daemon does not give these documents")
        _show(inspect_images(host, names), format)
        return
    with settings.images() as images:
        if raw or config:
            for name in names:
                text = images.raw_manifest(name) if raw else images.raw_config(name)
                sys.stdout.buffer.write(text)
            return
        documents = [images.inspect(name) for name in names]
    _show(documents, format)


def _show(documents: list[dict[str, object]], format: str) -> None:
    if format in ("", "json"):
        print_json(documents)
        return
    from trilby.cli.output import render

    for document in documents:
        fields = {
            key: value if isinstance(value, str) else _compact(value)
            for key, value in document.items()
        }
        click.echo(render(format, fields))


def _compact(value: object) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
