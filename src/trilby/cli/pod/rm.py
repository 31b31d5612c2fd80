"""trilby pod rm."""

from __future__ import annotations

import click

from trilby.cli.settings import Settings


@click.command("rm", epilog="Example: trilby pod rm --force hello")
@click.argument("pods", metavar="[POD]...", nargs=-1)
@click.option("-a", "--all", "everything", is_flag=True, help="Every pod.")
@click.option("-f", "--force", is_flag=True, help="Stop a running pod first.")
@click.option("-i", "--ignore", is_flag=True, help="A pod that is not there is no error.")
@click.option(
    "-t", "--time", "grace", type=float, default=None, metavar="SECONDS",
    help="Grace period with --force [default: the manifest's own].",
)  # fmt: skip
@click.pass_obj
def command(
    settings: Settings,
    pods: tuple[str, ...],
    everything: bool,
    force: bool,
    ignore: bool,
    grace: float | None,
) -> None:
    """Remove pods with their containers, volumes, logs and network."""
    from trilby.cli.running import run_async

    if bool(pods) == everything:
        raise click.UsageError("give pods, or --all")
    run_async(_remove(settings, pods, force, ignore, grace))


async def _remove(
    settings: Settings, pods: tuple[str, ...], force: bool, ignore: bool, grace: float | None
) -> None:
    from trilby.cli.pod.foreground import view_folder
    from trilby.cli.pod.stop import select, tell
    from trilby.pods.embedded.operations import remove_pod

    with settings.images() as images:
        async with settings.engine(images) as engine:
            for view in select(settings, pods, ignore):
                folder = view_folder(settings, view)
                await remove_pod(engine, folder, view, force=force, grace=grace, emit=tell)
                click.echo(view.name)
