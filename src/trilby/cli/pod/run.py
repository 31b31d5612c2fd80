"""trilby pod run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Unpack

import click

from trilby.cli.host import host_option
from trilby.cli.image.flags import (
    RegistryFlags,
    image_context,
    refuse_local_flags,
    registry_flags,
)
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.pods.manifest.load import LoadedPod


class Wishes:
    """What the flags say about how to run."""

    __slots__ = ("detach", "logs", "quiet", "remove", "replace")

    def __init__(
        self, *, detach: bool, replace: bool, remove: bool, quiet: bool, logs: bool
    ) -> None:
        self.detach = detach
        self.replace = replace
        self.remove = remove
        self.quiet = quiet
        self.logs = logs


@click.command("run", epilog="Example: trilby pod run examples/hello-pod.yaml")
@click.argument("file", metavar="FILE|-")
@click.option(
    "-d", "--detach", is_flag=True, help="Start the pod, print its id and leave it running."
)
@click.option("--replace", is_flag=True, help="Remove a pod of the same name first.")
@click.option("--rm", "remove", is_flag=True, help="Remove the pod when it has ended.")
@click.option("--no-logs", is_flag=True, help="Do not show what the containers write.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no events.")
@registry_flags
@host_option
@click.pass_obj
def command(
    settings: Settings,
    file: str,
    detach: bool,
    replace: bool,
    remove: bool,
    no_logs: bool,
    quiet: bool,
    host: str,
    **flags: Unpack[RegistryFlags],
) -> int:
    """Run a Pod manifest (apiVersion v1, kind Pod; YAML or JSON).

    In the foreground the command does what a kubelet would: init containers, probes, lifecycle
    hooks and restarts. It ends when the pod has ended, with 0 if the pod succeeded; SIGINT or
    SIGTERM stop the pod gracefully. With --detach the pod is left running once its containers have
    started; nobody probes or restarts them then.
    """
    from trilby.cli.pod.foreground import run_pod
    from trilby.cli.running import Terminated, run_async
    from trilby.pods.manifest.load import load_pod

    if detach and remove:
        raise click.UsageError("--detach and --rm exclude each other")
    loaded = load_pod(_read(file), "stdin" if file == "-" else file)
    for problem in loaded.warnings:
        click.echo(f"Warning: {problem.at(loaded.source)}", err=True)
    if detach:
        _warn_detached(loaded)
    wishes = Wishes(detach=detach, replace=replace, remove=remove, quiet=quiet, logs=not no_logs)
    if host:
        refuse_local_flags(flags)
    context: ImageContext = image_context(flags)
    try:
        return 0 if run_async(run_pod(settings, host, loaded, context, wishes)) else 1
    except Terminated:
        return 143


def _read(file: str) -> str:
    from trilby.errors import InvalidInput, NotFound

    try:
        if file == "-":
            return sys.stdin.buffer.read().decode()
        with open(file, "rb") as stream:
            return stream.read().decode()
    except FileNotFoundError:
        raise NotFound(f"{file}: there is no such manifest") from None
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: is not UTF-8 text: {error}") from None


def _warn_detached(loaded: LoadedPod) -> None:
    """Say which wishes of the manifest nobody is there to fulfil."""
    spec = loaded.pod.spec
    idle = []
    if spec.restart_policy != "Never":
        idle.append(f"restartPolicy {spec.restart_policy}")
    containers = (*spec.init_containers, *spec.containers)
    if any(
        each.liveness_probe or each.readiness_probe or each.startup_probe for each in containers
    ):
        idle.append("probes")
    if spec.active_deadline_seconds is not None:
        idle.append("activeDeadlineSeconds")
    if idle:
        what = ", ".join(idle)
        click.echo(f"Warning: with --detach nobody heeds {what}", err=True)
