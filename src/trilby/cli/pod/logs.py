"""trilby pod logs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from trilby.cli.host import host_option
from trilby.cli.names import container_names, pod_names
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.pods.logs import Entry
    from trilby.pods.logs_read import LogOptions
    from trilby.pods.model_status import ContainerStatus


@click.command("logs", epilog="Example: trilby pod logs -f --tail 20 hello -c web")
@click.argument("pod", metavar="POD", shell_complete=pod_names)
@click.argument("container", metavar="[CONTAINER]", default="", shell_complete=container_names)
@click.option(
    "-c", "--container", "option", metavar="NAME", default="", help="Only this container."
)
@click.option("-f", "--follow", is_flag=True, help="Go on until the containers have ended.")
@click.option("--tail", type=int, default=-1, metavar="LINES", help="Only the last lines of each.")
@click.option("--since", default="", metavar="TIME|AGE", help="RFC 3339, or an age such as 10m.")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written.")
@host_option
@click.pass_obj
def command(
    settings: Settings,
    pod: str,
    container: str,
    option: str,
    follow: bool,
    tail: int,
    since: str,
    timestamps: bool,
    host: str,
) -> None:
    """Show what the containers of a pod have written.

    Of several containers each line begins with the container's name.
    """
    from trilby.cli.pod.target import pods_of
    from trilby.pods.logs_read import LogOptions

    view = pods_of(settings, host).find(pod)
    name = container or option
    containers = [view.container(name)] if name else list(view.containers)
    options = LogOptions(
        tail=None if tail < 0 else tail, since_ns=since_time(since) if since else 0, follow=follow
    )
    width = max((len(each.name) for each in containers), default=0)
    printers = [
        Printer(f"{each.name:{width}} | " if len(containers) > 1 else "", timestamps)
        for each in containers
    ]
    if follow:
        _follow(settings, host, containers, options, printers)
        return
    from trilby.pods.logs_read import read_log

    for each, printer in zip(containers, printers, strict=True):
        for entry in read_log(each.log_path, options):
            printer(entry)


class Printer:
    """Writes entries of one container; partial ones are joined to lines."""

    def __init__(self, prefix: str, timestamps: bool) -> None:
        self.prefix = prefix.encode()
        self.timestamps = timestamps
        self.fresh = {"stdout": True, "stderr": True}

    def __call__(self, entry: Entry) -> None:
        out = sys.stdout.buffer if entry.stream == "stdout" else sys.stderr.buffer
        start = b""
        if self.fresh[entry.stream]:
            start = self.prefix + (entry.time + b" " if self.timestamps else b"")
        self.fresh[entry.stream] = not entry.partial
        out.write(start + entry.data)
        out.flush()


def _follow(
    settings: Settings,
    host: str,
    containers: list[ContainerStatus],
    options: LogOptions,
    printers: list[Printer],
) -> None:
    import asyncio

    from trilby.cli.pod.target import open_target
    from trilby.cli.running import run_async

    async def follow() -> None:
        async with open_target(settings, host) as target:

            async def one(status: ContainerStatus, printer: Printer) -> None:
                async for entry in target.engine.logs(status.id, options):
                    printer(entry)

            await asyncio.gather(*map(one, containers, printers))

    run_async(follow())


def since_time(text: str) -> int:
    """Nanoseconds since 1970 for a time or an age."""
    import re
    from datetime import datetime

    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
        age = sum(float(number) * units[unit] for number, unit in parts)
        return time.time_ns() - int(age * 1e9)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError:
        raise click.UsageError(f"--since {text}: neither a time nor an age such as 10m") from None
