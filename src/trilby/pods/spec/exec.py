"""The process of an exec: like the container's first one, with another command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from trilby.oci.runtime import ConsoleSize, Process
from trilby.pods.errors import InvalidPodConfig


def build_exec_process(
    first: Process,
    args: Sequence[str],
    *,
    tty: bool = False,
    env: Iterable[tuple[str, str]] = (),
    cwd: str = "",
    console_size: ConsoleSize | None = None,
) -> Process:
    """For ``exec --process``: the user, limits and confinement are those of the container.

    With a terminal there is a ``TERM``. ``env`` is added to the container's, and wins.
    """
    if not args:
        raise InvalidPodConfig("exec: there is no command to run")
    variables = dict(line.partition("=")[::2] for line in first.env)
    if tty:
        variables.setdefault("TERM", "xterm")
    variables.update(env)
    return replace(
        first,
        args=tuple(args),
        terminal=tty,
        console_size=console_size if tty else None,
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        cwd=cwd or first.cwd,
    )
