"""trilby pod rm."""

from __future__ import annotations

import click

from trilby.cli.host import host_option
from trilby.cli.names import pod_names
from trilby.cli.settings import Settings


@click.command("rm", epilog="Example: trilby pod rm --force hello")
@click.argument("pods", metavar="[POD]...", nargs=-1, shell_complete=pod_names)
@click.option("-a", "--all", "everything", is_flag=True, help="Every pod.")
@click.option("-f", "--force", is_flag=True, help="Stop a running pod first.")
@click.option("-i", "--ignore", is_flag=True, help="A pod that is not there is no error.")
@click.option(
    "-t", "--time", "grace", type=float, default=None, metavar="SECONDS",
    help="Grace period with --force [default: the manifest's own].",
)  # fmt: skip
@host_option
@click.pass_obj
def command(
    settings: Settings,
    pods: tuple[str, ...],
    everything: bool,
    force: bool,
    ignore: bool,
    grace: float | None,
    host: str,
) -> None:
    """Remove pods with their containers, volumes, logs and network."""
    from trilby.cli.running import run_async

    if bool(pods) == everything:
        raise click.UsageError("give pods, or --all")
    run_async(_remove(settings, host, pods, force, ignore, grace))


async def _remove(
    settings: Settings,
    host: str,
    pods: tuple[str, ...],
    force: bool,
    ignore: bool,
    grace: float | None,
) -> None:
    from trilby.cli.pod.foreground import view_folder
    from trilby.cli.pod.stop import select, tell
    from trilby.cli.pod.target import open_target
    from trilby.pods.embedded.operations import remove_pod

    async with open_target(settings, host) as target:
        for view in select(await target.listing(), pods, ignore):
            folder = view_folder(settings, view)
            await remove_pod(target.engine, folder, view, force=force, grace=grace, emit=tell)
            click.echo(view.name)
