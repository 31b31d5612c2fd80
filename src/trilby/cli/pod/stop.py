"""trilby pod stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trilby.cli.host import host_option
from trilby.cli.names import pod_names
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.pods.embedded.events import Event
    from trilby.pods.embedded.listing import PodList, PodView


@click.command("stop", epilog="Example: trilby pod stop -t 5 hello")
@click.argument("pods", metavar="[POD]...", nargs=-1, shell_complete=pod_names)
@click.option("-a", "--all", "everything", is_flag=True, help="Every pod.")
@click.option("-i", "--ignore", is_flag=True, help="A pod that is not there is no error.")
@click.option(
    "-t", "--time", "grace", type=float, default=None, metavar="SECONDS",
    help="Grace period [default: the manifest's own].",
)  # fmt: skip
@host_option
@click.pass_obj
def command(
    settings: Settings,
    pods: tuple[str, ...],
    everything: bool,
    ignore: bool,
    grace: float | None,
    host: str,
) -> None:
    """Stop pods: preStop hooks, stop signals, and after the grace period SIGKILL.

    A pod that runs in the foreground of another command is ended there.
    """
    from trilby.cli.running import run_async

    if bool(pods) == everything:
        raise click.UsageError("give pods, or --all")
    run_async(_stop(settings, host, pods, ignore, grace))


async def _stop(
    settings: Settings, host: str, pods: tuple[str, ...], ignore: bool, grace: float | None
) -> None:
    from trilby.cli.pod.foreground import view_folder
    from trilby.cli.pod.target import open_target
    from trilby.pods.embedded.operations import stop_pod

    async with open_target(settings, host) as target:
        for view in select(await target.listing(), pods, ignore):
            await stop_pod(target.engine, view_folder(settings, view), view, grace, tell)
            click.echo(view.name)


def select(listing: PodList, pods: tuple[str, ...], ignore: bool) -> list[PodView]:
    """The pods that are named, or all. Raises PodNotFound unless ``ignore``."""
    from trilby.pods.embedded.errors import PodNotFound

    if not pods:
        return listing.all()
    found = []
    for ref in pods:
        try:
            found.append(listing.find(ref))
        except PodNotFound:
            if not ignore:
                raise
    return found


def tell(event: Event) -> None:
    """Notices of hooks that failed, on stderr."""
    from trilby.pods.embedded.events import Notice

    if isinstance(event, Notice):
        click.echo(f"container {event.container}: {event.text}", err=True)
