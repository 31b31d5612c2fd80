"""The flag ``--host``: ask a running daemon, by the CRI, instead of doing it in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")


def host_option(command: Callable[P, R]) -> Callable[P, R]:
    """For commands that can do without a daemon: one is asked only if it is named."""
    return click.option(
        "--host",
        metavar="ADDRESS",
        default="",
        envvar="TRILBY_HOST",
        help="Ask the daemon behind this socket, unix:///PATH or /PATH (also TRILBY_HOST).",
    )(command)


def daemon_option(command: Callable[P, R]) -> Callable[P, R]:
    """For commands that only a daemon can answer."""
    return click.option(
        "--host",
        metavar="ADDRESS",
        default="",
        envvar=["TRILBY_HOST", "CONTAINER_RUNTIME_ENDPOINT"],
        help="The daemon's socket, unix:///PATH or /PATH (also TRILBY_HOST, or crictl's"
        " CONTAINER_RUNTIME_ENDPOINT) [default: /run/trilby/trilby.sock].",
    )(command)
