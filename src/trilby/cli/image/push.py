"""trilby image push."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack, cast

import click

from trilby.cli.image.flags import RegistryFlags, image_context, registry_flags
from trilby.cli.names import image_names
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    "push", epilog="Example: trilby image push hello registry.example.com/team/hello:1.0"
)
@click.argument("name", metavar="IMAGE", shell_complete=image_names)
@click.argument("destination", metavar="[DESTINATION]", default="")
@click.option("-f", "--format", metavar="FORMAT", default="", help="Manifest: oci or v2s2.")
@click.option(
    "--compression-format",
    type=click.Choice(["gzip", "zstd"]),
    default=None,
    help="Compression of the layers.",
)
@click.option("--compression-level", type=int, default=None, help="Its level.")
@click.option("--digestfile", metavar="FILE", default="", help="Write the digest there.")
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the digest.")
@registry_flags
@click.pass_obj
def command(
    settings: Settings,
    name: str,
    destination: str,
    format: str,
    compression_format: str | None,
    compression_level: int | None,
    digestfile: str,
    quiet: bool,
    **flags: Unpack[RegistryFlags],
) -> None:
    """Send an image of the store to a registry and print the digest of its manifest.

    DESTINATION is a name, or TRANSPORT:REST; without it the image goes where its own name says.
    """
    from trilby.cli.progress import progress_bars
    from trilby.cli.running import run_async

    _one_of("--format", format, ("", "oci", "v2s2"))
    with settings.images(image_context(flags)) as images:
        title = f"Pushing {name} to {destination or name}"
        with progress_bars(title, quiet=quiet) as progress:
            digest = run_async(
                images.push(
                    name,
                    destination,
                    progress=progress,
                    format=cast('Literal["", "oci", "v2s2"]', format),
                    compression_format=cast(
                        'Literal["", "gzip", "zstd"]', compression_format or ""
                    ),
                    compression_level=compression_level,
                )
            )
    if digestfile:
        with open(digestfile, "w") as file:
            file.write(digest)
    click.echo(digest)


def _one_of(flag: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise click.UsageError(f"{flag} {value}: choose {' or '.join(c for c in choices if c)}")
