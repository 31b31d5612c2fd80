"""trilby pod attach."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from trilby.cli.host import host_option
from trilby.cli.names import pod_names
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.pods.embedded.api import Attached

# Ctrl-P Ctrl-Q, as podman and docker have it.
DETACH = b"\x10\x11"


@click.command("attach", epilog="Example: trilby pod attach hello -c web")
@click.argument("pod", metavar="POD", shell_complete=pod_names)
@click.option(
    "-c", "--container", metavar="NAME", default="", help="Which container [default: the first]."
)
@click.option("--no-stdin", is_flag=True, help="Only look.")
@host_option
@click.pass_obj
def command(settings: Settings, pod: str, container: str, no_stdin: bool, host: str) -> int:
    """Connect to the first process of a container that runs.

    Ends with the container's exit status, or with 0 after Ctrl-P Ctrl-Q, which leaves it running.
    """
    from trilby.cli.running import run_async

    return run_async(_attach(settings, host, pod, container, not no_stdin))


async def _attach(settings: Settings, host: str, pod: str, container: str, stdin: bool) -> int:
    from trilby.cli.pod.target import open_target
    from trilby.cli.pod.terminal import raw_terminal

    async with open_target(settings, host) as target:
        engine = target.engine
        found = (await target.listing()).find(pod).container(container)
        streams = await engine.attach(found.id)
        try:
            resize = streams.resize if streams.tty else _nothing
            with raw_terminal(resize):
                output = asyncio.ensure_future(_show(streams))
                tasks: list[asyncio.Future[bool]] = [output]
                if stdin and streams.has_stdin:
                    tasks.append(asyncio.ensure_future(_send(streams)))
                await _until_over(tasks, output)
                detached = not output.done()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            return 0 if detached else await engine.wait_container(found.id)
        finally:
            streams.close()


async def _until_over(tasks: list[asyncio.Future[bool]], output: asyncio.Future[bool]) -> None:
    """The output's end, or the detach keys; the end of stdin alone ends nothing."""
    waiting = set(tasks)
    while not output.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(task is not output and task.result() for task in done):
            return


async def _show(streams: Attached) -> bool:
    from trilby.pods.attach import Stream

    async for stream, data in streams:
        out = sys.stdout if stream is Stream.STDOUT else sys.stderr
        out.buffer.write(data)
        out.buffer.flush()
    return True


async def _send(streams: Attached) -> bool:
    """True when the person asked to detach."""
    from trilby.cli.pod.terminal import read_input

    while data := await read_input(sys.stdin.fileno()):
        if streams.tty and DETACH in data:
            return True
        await streams.write(data)
    streams.close_stdin()
    return False


def _nothing(rows: int, columns: int) -> None:
    """A container without a terminal has no size."""
