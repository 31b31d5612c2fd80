"""trilby image pull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack, cast

import click

from trilby.cli.host import host_option
from trilby.cli.image.flags import (
    PlatformFlags,
    RegistryFlags,
    image_context,
    platform_flags,
    refuse_local_flags,
    registry_flags,
)
from trilby.cli.names import image_names
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.image.service import PullPolicy


class PullFlags(RegistryFlags, PlatformFlags):
    """All flags that only the library needs."""


@click.command("pull", epilog="Example: trilby image pull docker.io/library/busybox:1.36")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True, shell_complete=image_names)
@click.option(
    "--policy",
    type=click.Choice(["always", "missing", "newer", "never"]),
    default="always",
    show_default=True,
    help="When to ask the registry.",
)
@click.option("--all-platforms", is_flag=True, help="Every platform of a multi-platform image.")
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the id.")
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@platform_flags
@registry_flags
@host_option
@click.pass_obj
def command(
    settings: Settings,
    names: tuple[str, ...],
    policy: str,
    all_platforms: bool,
    quiet: bool,
    format: str,
    host: str,
    **flags: Unpack[PullFlags],
) -> None:
    """Fetch images into the store and print their ids.

    IMAGE is a name as podman takes it (short, full, with tag or digest), or TRANSPORT:REST with
    docker://, oci:, oci-archive:, docker-archive:, dir: or containers-storage:.
    """
    from trilby.cli.output import json_flag, print_json
    from trilby.cli.progress import progress_bars
    from trilby.cli.running import run_async

    as_json = json_flag(format)
    if host:
        from trilby.cli.image.remote import pull_images

        if all_platforms or flags["platform"] or flags["os"] or flags["arch"] or flags["variant"]:
            raise click.UsageError("--host: the daemon pulls for its own platform only")
        refuse_local_flags(flags)
        context = image_context(flags)
        for pulled in pull_images(host, names, cast("PullPolicy", policy), context, quiet=quiet):
            if as_json:
                print_json(pulled)
            else:
                click.echo(pulled.id)
        return
    with settings.images(image_context(flags, flags), recover=True) as images:
        for name in names:
            with progress_bars(f"Pulling {name}", quiet=quiet) as progress:
                pulled = run_async(
                    images.pull(
                        name,
                        cast("PullPolicy", policy),
                        progress=progress,
                        all_platforms=all_platforms,
                    )
                )
            if as_json:
                print_json(pulled)
            else:
                click.echo(pulled.id)
