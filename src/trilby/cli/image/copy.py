"""trilby image copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack, cast

import click

from trilby.cli.image.flags import (
    PlatformFlags,
    RegistryFlags,
    credentials,
    image_context,
    platform_flags,
    registry_flags,
)
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.image.context import ImageContext


class CopyFlags(RegistryFlags, PlatformFlags):
    """All flags that only the library needs."""

    dest_creds: str
    dest_tls_verify: bool | None
    dest_cert_dir: str


@click.command(
    "copy", epilog="Example: trilby image copy docker://quay.io/team/app:1 oci-archive:app.tar:1"
)
@click.argument("source")
@click.argument("destination")
@click.option("-a", "--all", "all_platforms", is_flag=True, help="Every platform of the image.")
@click.option("-f", "--format", metavar="FORMAT", default="", help="Manifest: oci or v2s2.")
@click.option("--preserve-digests", is_flag=True, help="Fail rather than change a manifest.")
@click.option("--remove-signatures", is_flag=True, help="Do not copy signatures.")
@click.option("--digestfile", metavar="FILE", default="", help="Write the digest there.")
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the digest.")
@click.option(
    "--dest-creds", metavar="USER[:PASSWORD]", default="", help="Credentials for DESTINATION."
)
@click.option("--dest-cert-dir", metavar="DIR", default="", help="Certificates for DESTINATION.")
@click.option(
    "--dest-tls-verify/--no-dest-tls-verify",
    default=None,
    help="Require HTTPS and verify certificates of DESTINATION.",
)
@platform_flags
@registry_flags
@click.pass_obj
def command(
    settings: Settings,
    source: str,
    destination: str,
    all_platforms: bool,
    format: str,
    preserve_digests: bool,
    remove_signatures: bool,
    digestfile: str,
    quiet: bool,
    **flags: Unpack[CopyFlags],
) -> None:
    """Copy an image between any two places, as skopeo copy does, and print its digest.

    SOURCE and DESTINATION are TRANSPORT:REST with docker://, oci:, oci-archive:, docker-archive:,
    dir: or containers-storage: (the store of the global flags).
    """
    from trilby.cli.progress import progress_bars
    from trilby.cli.running import run_async
    from trilby.image.copy_types import CopyOptions

    if format not in ("", "oci", "v2s2"):
        raise click.UsageError(f"--format {format}: choose oci or v2s2")
    here = image_context(flags, flags)
    there = _destination_context(here, flags)
    with settings.images(here, recover=True) as images:
        with progress_bars(f"Copying {source} to {destination}", quiet=quiet) as progress:
            options = CopyOptions(
                which="all" if all_platforms else "system",
                platform=here.platform,
                preserve_digests=preserve_digests,
                format=cast('Literal["", "oci", "v2s2"]', format),
                remove_signatures=remove_signatures,
                progress=progress,
            )
            result = run_async(
                images.copy(
                    source, destination, options=options, context=here, destination_context=there
                )
            )
    if digestfile:
        with open(digestfile, "w") as file:
            file.write(str(result.digest))
    click.echo(str(result.digest))


def _destination_context(here: ImageContext, flags: CopyFlags) -> ImageContext:
    """--dest-... where it is given, else what holds for both sides."""
    changes: dict[str, object] = {}
    if flags["dest_creds"]:
        changes["credentials"] = credentials(flags["dest_creds"])
    if flags["dest_tls_verify"] is not None:
        changes["tls_verify"] = flags["dest_tls_verify"]
    if flags["dest_cert_dir"]:
        changes["cert_dir"] = flags["dest_cert_dir"]
    return here.with_changes(**changes)
