"""Where a daemon is: the forms that ``--host`` takes, and what counts without it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from typing import Final

from trilby.cri.client.errors import NoDaemon
from trilby.cri.errors import InvalidRequest

DEFAULT_SOCKET: Final = "/run/trilby/trilby.sock"
#: In this order. The second one is crictl's.
ENVIRONMENT: Final = ("TRILBY_HOST", "CONTAINER_RUNTIME_ENDPOINT")


def socket_path(host: str) -> str:
    """The path of ``unix:///run/x.sock``, ``unix:/run/x.sock`` or ``/run/x.sock``.

    Raises InvalidRequest for anything else: the CRI is spoken on unix sockets only.
    """
    path = host
    if host.startswith("unix:"):
        path = host.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
    if not path.startswith("/") or path.startswith("//"):
        raise InvalidRequest(
            f"{host!r} is not the address of a daemon",
            hint="write unix:///run/trilby/trilby.sock, or only the path",
        )
    return path


def chosen(host: str, env: Mapping[str, str] = os.environ) -> str:
    """The socket's path: of ``--host``, else of the environment, else the usual one."""
    for candidate in (host, *(env.get(name, "") for name in ENVIRONMENT)):
        if candidate:
            return socket_path(candidate)
    return DEFAULT_SOCKET


def check(path: str) -> None:
    """Raises NoDaemon, with what to do, when nobody listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            raise no_daemon(path, error) from error


def no_daemon(path: str, error: OSError) -> NoDaemon:
    """What it means that a socket cannot be connected to."""
    elsewhere = "name another socket by --host or TRILBY_HOST"
    if error.errno == errno.EACCES:
        return NoDaemon(f"no access to {path}: {error.strerror}", hint="ask as root")
    if error.errno == errno.ENOENT:
        return NoDaemon(
            f"no daemon runs: there is no socket {path}",
            hint=f"systemctl start trilby, or {elsewhere}",
        )
    if error.errno == errno.ECONNREFUSED:
        return NoDaemon(
            f"no daemon answers on {path}: it has ended without removing the socket",
            hint=f"systemctl restart trilby, or {elsewhere}",
        )
    return NoDaemon(f"no daemon answers on {path}: {error.strerror or error}", hint=elsewhere)
