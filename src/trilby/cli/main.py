"""The trilby command: global flags, the command tree, and errors as exit codes."""

from __future__ import annotations

import gc
import os
import sys

import click

from trilby.cli.lazy import LazyGroup
from trilby.cli.running import Terminated
from trilby.cli.settings import Settings, global_options
from trilby.errors import TrilbyError

COMMANDS = {
    "image": ("trilby.cli.image.group", "Pull, push, list, inspect and remove images"),
    "pod": ("trilby.cli.pod.group", "Run Kubernetes Pod manifests on this machine"),
    "status": ("trilby.cli.status", "Show how a running daemon is"),
    "events": ("trilby.cli.events", "Show what happened to pods and containers"),
    "config": ("trilby.cli.config.group", "Check the configuration files"),
    "node": ("trilby.cli.node.group", "Check whether a host is fit to run pods"),
    "rpm": ("trilby.cli.rpm.group", "Build, sign and check RPM packages"),
    "login": ("trilby.cli.login", "Log in to a registry"),
    "logout": ("trilby.cli.logout", "Forget the credentials of a registry"),
    "completion": ("trilby.cli.completion", "Print a completion script for a shell"),
    "version": ("trilby.cli.version", "Show the versions of trilby and of what it runs"),
}

EXIT_STATUS = """\b
Exit status:
  0    success
  1    another failure; `pod run`: the pod failed; `status`: not ready;
       `node check`: warnings
  2    wrong usage, an invalid manifest or configuration file; `node check`: failures
  3    no such image, pod, container, repository or file
  4    credentials missing, wrong or insufficient
  5    a registry, the daemon or another peer did not answer usably
  6    data does not match its digest, length or format
  7    forbidden by policy.json or registries.conf
  8    the store, its disk or its locks failed
  9    in use, exists already, or in the wrong state
  130  interrupted (SIGINT), what was under way is undone
  143  terminated (SIGTERM), likewise
  `pod exec` exits with the command's own status; 125, 126 and 127 as podman exec"""

HELP = """Images, layers and pods in the formats of the ecosystem, without a daemon or with one.

The store is shared with podman, skopeo, buildah and CRI-O; registries.conf, policy.json,
auth.json, storage.conf and CNI conflists are read where they read them."""


def main() -> None:
    """The entry point: runs one command line and ends the process with its exit status."""
    # Most objects of a short process live to its end: looking for garbage among the imported ones
    # costs a tenth of a command's time, half of that at the interpreter's exit.
    gc.set_threshold(50_000)
    status = run(root_group(), sys.argv[1:])
    gc.freeze()
    sys.exit(status)


def root_group() -> LazyGroup:
    """The whole command tree."""
    version = click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_show_version,
        help="Show the version and exit.",
    )
    group = LazyGroup(
        "trilby",
        COMMANDS,
        help=HELP,
        epilog=EXIT_STATUS,
        params=[*global_options(), version],
    )
    group.callback = _keep_settings
    return group


def run(group: click.Command, argv: list[str]) -> int:
    """One command line's exit status; every message is on stderr."""
    try:
        result = group.main(argv, prog_name=group.name, standalone_mode=False)
        status = result if isinstance(result, int) else 0
        sys.stdout.flush()
        return status
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except TrilbyError as error:
        report(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except Terminated:
        click.echo("terminated", err=True)
        return 143
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does: no message, and none at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        return 3 if isinstance(error, FileNotFoundError) else 1


def report(error: TrilbyError) -> None:
    """An error and what to do about it, on stderr."""
    click.echo(f"Error: {error.message}", err=True)
    if error.hint:
        click.echo(f"Hint: {error.hint}", err=True)


@click.pass_context
def _keep_settings(
    ctx: click.Context,
    root: str,
    runroot: str,
    storage_driver: str,
    storage_opts: tuple[str, ...],
    log_level: str,
    config: str,
    runtime: str,
    conmon: str,
    cgroup_manager: str,
    network_config_dirs: tuple[str, ...],
) -> None:
    _configure_logging(log_level)
    ctx.obj = Settings(
        root=root,
        runroot=runroot,
        storage_driver=storage_driver,
        storage_opts=storage_opts,
        log_level=log_level,
        config=config,
        runtime=runtime,
        conmon=conmon,
        cgroup_manager=cgroup_manager,
        network_config_dirs=network_config_dirs,
    )


def _configure_logging(level: str) -> None:
    import logging

    names = {"warn": "WARNING"}
    logging.basicConfig(
        level=names.get(level, level.upper()),
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
    )


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"trilby {version('trilby')}")
        ctx.exit()
