"""trilby commands, as processes, that ask a daemon of a test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from typing import TypeVar

from tests.support.daemon import DaemonProcess, own_daemon
from tests.support.pods import Place

T = TypeVar("T")

COMMAND = "from trilby.cli.main import main; main()"


class Commands:
    """``trilby`` with the roots and the configuration of a daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self.place = daemon.place

    def trilby(
        self, *arguments: str, host: bool = True, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command to its end. ``host=False``: it does it by itself, and asks no daemon."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment(host=host),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode:
            said = self.daemon.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{arguments}: {done.returncode}\n{done.stderr}\n{said}")
        return done

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        root = self.place.root
        return [
            *(sys.executable, "-c", COMMAND, "--config", str(self.daemon.config)),
            *("--root", str(root / "s"), "--runroot", str(root / "rs"), *arguments),
        ]

    def environment(self, *, host: bool = True) -> dict[str, str]:
        """With ``host`` the command finds the daemon."""
        others = {k: v for k, v in os.environ.items() if k != "CONTAINER_RUNTIME_ENDPOINT"}
        path = os.pathsep.join(sys.path)
        mine = {"TRILBY_HOST": self.daemon.socket} if host else {}
        return {**others, "PYTHONPATH": path, **mine}


@contextlib.contextmanager
def commands(place: Place, further: str = "") -> Iterator[Commands]:
    """A running daemon and its commands; its pods and it go at the end.

    ``further`` is added to its trilby.conf.
    """
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        context = own_daemon(place, further)
        daemon = runner.run(_awaited(context.__aenter__()))
        stack.callback(lambda: runner.run(_awaited(context.__aexit__(None, None, None))))
        yield Commands(daemon)


async def _awaited(work: Awaitable[T]) -> T:
    return await work
