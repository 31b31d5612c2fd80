"""trilby pod exec."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from trilby.cli.host import host_option
from trilby.cli.names import pod_names
from trilby.cli.settings import Settings
from trilby.errors import TrilbyError

if TYPE_CHECKING:
    from trilby.pods.embedded.api import Session

# As podman exec: the command could not be run for another reason, cannot be invoked, is not there.
FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


class ExecCommand(click.Command):
    """Takes options before POD, and as kubectl does between POD and ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without ``--`` right after POD and its options, what follows POD is the command's."""
        if "--" in args:
            trial = click.Context(self, allow_interspersed_args=True, ignore_unknown_options=False)
            try:
                found, _, _ = self.make_parser(trial).parse_args(args[: args.index("--")])
                words = found.get("argv")
            except click.UsageError:
                words = args
            # What stands for "none given" differs between click's versions.
            if not isinstance(words, list | tuple) or not words:
                ctx.allow_interspersed_args = True
                ctx.ignore_unknown_options = False
        return super().parse_args(ctx, args)


@click.command(
    "exec",
    cls=ExecCommand,
    epilog="Example: trilby pod exec -it hello -c web -- sh",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("pod", metavar="POD", shell_complete=pod_names)
@click.argument("argv", metavar="[OPTIONS --] COMMAND [ARG]...", nargs=-1, required=True)
@click.option(
    "-c", "--container", metavar="NAME", default="", help="Which container [default: the first]."
)
@click.option("-i", "--interactive", is_flag=True, help="Connect stdin.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal.")
@click.option("-u", "--user", metavar="UID[:GID]", default="", help="User to run as.")
@click.option("-w", "--workdir", metavar="DIR", default="", help="Working directory.")
@click.option("-e", "--env", metavar="NAME=VALUE", multiple=True, help="Further variables.")
@host_option
@click.pass_obj
def command(
    settings: Settings,
    pod: str,
    argv: tuple[str, ...],
    container: str,
    interactive: bool,
    tty: bool,
    user: str,
    workdir: str,
    env: tuple[str, ...],
    host: str,
) -> int:
    """Run a command in a container of a pod; the exit status is the command's own.

    125: it could not be run at all, 126: it cannot be invoked, 127: it is not there.
    """
    from trilby.cli.main import report
    from trilby.cli.running import run_async

    container, argv = _container_after_pod(container, argv)
    call = Call(
        pod=pod, container=container, argv=argv, interactive=interactive, tty=tty, user=user,
        workdir=workdir, env=env,
    )  # fmt: skip
    try:
        return run_async(_exec(settings, host, call))
    except TrilbyError as error:
        report(error)
        text = str(error).lower()
        if "no such file" in text or "not found in $path" in text:
            return NOT_FOUND
        return NOT_EXECUTABLE if "permission denied" in text else FAILED


class Call:
    """What the command line asks for."""

    __slots__ = ("argv", "container", "env", "interactive", "pod", "tty", "user", "workdir")

    def __init__(
        self,
        *,
        pod: str,
        container: str,
        argv: tuple[str, ...],
        interactive: bool,
        tty: bool,
        user: str,
        workdir: str,
        env: tuple[str, ...],
    ) -> None:
        self.pod = pod
        self.container = container
        self.argv = argv
        self.interactive = interactive
        self.tty = tty
        self.user = user
        self.workdir = workdir
        self.env = env


def _container_after_pod(container: str, argv: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """`exec POD -c NAME -- CMD`, as kubectl takes it, beside `exec -c NAME POD CMD`."""
    if argv[0] in ("-c", "--container") and len(argv) > 2:
        container, argv = argv[1], argv[2:]
    if argv[0] == "--":
        argv = argv[1:]
    if not argv:
        raise click.UsageError("a command is missing")
    if argv[0].startswith("-"):
        raise click.UsageError(f"{argv[0]}: options stand before POD, or between POD and --")
    return container, argv


async def _exec(settings: Settings, host: str, call: Call) -> int:
    from trilby.cli.pod.target import open_target
    from trilby.pods.exec import ExecStreams

    async with open_target(settings, host) as target:
        found = (await target.listing()).find(call.pod).container(call.container)
        streams = ExecStreams(
            stdin=sys.stdin.fileno() if call.interactive else None,
            stdout=sys.stdout.fileno(),
            stderr=sys.stderr.fileno(),
        )
        session = await target.engine.exec(
            found.id,
            call.argv,
            streams=streams,
            tty=call.tty,
            user=call.user,
            working_dir=call.workdir,
            env=call.env,
        )
        try:
            if call.tty:
                await _terminal(session, call.interactive)
            return await session.wait()
        finally:
            await session.close()


async def _terminal(session: Session, interactive: bool) -> None:
    """Copy between our terminal and the command's until it ends."""
    import asyncio

    from trilby.cli.pod.terminal import raw_terminal, read_input

    async def forward() -> None:
        while data := await read_input(sys.stdin.fileno()):
            os.write(session.terminal, data)

    with raw_terminal(session.resize):
        task = asyncio.ensure_future(forward()) if interactive else None
        try:
            while data := await read_input(session.terminal):
                os.write(sys.stdout.fileno(), data)
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
