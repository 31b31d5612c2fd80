"""trilbyd: the daemon's command line, its signals and its end."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trilby.cli import daemon_log
from trilby.errors import TrilbyError

if TYPE_CHECKING:
    from trilby.cri.config import DaemonConfig
    from trilby.cri.config_source import ConfigFiles
    from trilby.cri.daemon import Daemon

log = logging.getLogger(__name__)

EPILOG = """\b
Signals:
  HUP        read the configuration again, all or nothing
  TERM, INT  end; containers keep running
  USR1       write all stacks to stderr

\b
Exit status:
  0  ended by a signal
  1  another failure
  2  the configuration is wrong, or the command line
  5  the address for metrics cannot be had
  8  the store cannot be used
  9  another daemon has the socket, the roots, or the port for streams

Everything else is configuration: see trilby.conf(5) and `trilby config show`."""


def _path(text: str) -> Path | None:
    return Path(text).absolute() if text else None


@click.command("trilbyd", epilog=EPILOG)
@click.option(
    "-c",
    "--config",
    "config",
    metavar="FILE",
    default="",
    type=click.Path(),
    help="trilby.conf to read instead of /etc/trilby/trilby.conf.",
)
@click.option(
    "-d",
    "--config-dir",
    metavar="DIR",
    default="",
    type=click.Path(),
    help="Directory of drop-ins, *.conf, instead of /etc/trilby/trilby.conf.d.",
)
@click.option("--listen", metavar="PATH", default="", help="The socket of the CRI.")
@click.option("--root", "-r", metavar="DIR", default="", help="Where images and layers are kept.")
@click.option("--runroot", metavar="DIR", default="", help="Where run-time state is kept.")
@click.option(
    "--log-level",
    "-l",
    metavar="LEVEL",
    default="",
    type=click.Choice(["", "debug", "info", "warn", "error"]),
    help="What is logged to stderr: debug, info, warn or error.",
)
@click.option("--version", is_flag=True, help="Show the version and exit.")
def command(
    config: str,
    config_dir: str,
    listen: str,
    root: str,
    runroot: str,
    log_level: str,
    version: bool,
) -> int:
    """Serve the Kubernetes Container Runtime Interface on this node.

    A kubelet is pointed here by `containerRuntimeEndpoint: unix:///run/trilby/trilby.sock`. Flags
    win over trilby.conf. Several daemons run beside each other when their roots, sockets, bridges
    and cgroup parents differ.
    """
    if version:
        from importlib.metadata import version as version_of

        click.echo(f"trilbyd {version_of('trilby')}")
        return 0
    from trilby.cri.config_source import ConfigFiles

    daemon_log.configure(log_level or "info")
    # A crash in a C library (gRPC, SQLite) would end the daemon without a word: it says where.
    faulthandler.enable(file=sys.stderr, all_threads=True)
    flags = {
        "trilby.api.listen": listen.removeprefix("unix://"),
        "trilby.root": os.path.abspath(root) if root else "",
        "trilby.runroot": os.path.abspath(runroot) if runroot else "",
        "trilby.runtime.log_level": log_level,
    }
    overrides: dict[str, object] = {key: value for key, value in flags.items() if value}
    files = ConfigFiles(_path(config), _path(config_dir), overrides)
    daemon_log.set_level(files.current().log_level)
    asyncio.run(_serve(files))
    return 0


async def _serve(files: ConfigFiles) -> None:
    """Until SIGTERM or SIGINT."""
    from trilby.cri.daemon import Daemon

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # Newer systemds (262) refuse a daemon that says it is ready and would be ended by SIGHUP.
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    async with Daemon(files, _applied) as daemon:
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = asyncio.create_task(_reload(daemon), name="reload")
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        if asked.is_set():
            reload()
        # What was made until here lives as long as the daemon: nobody has to look at it again.
        gc.collect()
        gc.freeze()
        await ended.wait()
        log.info("ending; containers keep running")
        loop.remove_signal_handler(signal.SIGHUP)
        await asyncio.gather(*reloads, return_exceptions=True)


def _applied(config: DaemonConfig) -> None:
    daemon_log.set_level(config.log_level)


async def _reload(daemon: Daemon) -> None:
    try:
        await daemon.reload()
    except TrilbyError as error:
        log.error("the configuration stays as it was: %s", error)


def main() -> None:
    """The entry point: runs the daemon, and ends the process with its exit status."""
    from trilby.cli.main import run

    os.umask(0o022)
    sys.exit(run(command, sys.argv[1:]))
