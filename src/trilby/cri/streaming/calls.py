"""What a token stands for: the request that the CRI call described."""

from __future__ import annotations

import msgspec

from trilby.cri.errors import InvalidRequest


class ExecCall(msgspec.Struct, frozen=True, kw_only=True):
    """Run a command in a container."""

    container_id: str
    cmd: tuple[str, ...]
    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool


class AttachCall(msgspec.Struct, frozen=True, kw_only=True):
    """Connect to a container's first process."""

    container_id: str
    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool


class ForwardCall(msgspec.Struct, frozen=True, kw_only=True):
    """Connect to ports of a sandbox. ``ports`` is for WebSocket; SPDY names them per stream."""

    sandbox_id: str
    ports: tuple[int, ...]


Call = ExecCall | AttachCall | ForwardCall

#: The first part of the path of a call's URL.
VERBS: dict[type[Call], str] = {
    ExecCall: "exec",
    AttachCall: "attach",
    ForwardCall: "portforward",
}


def check_call(call: Call) -> None:
    """Raises InvalidRequest for what the CRI does not allow."""
    if isinstance(call, ForwardCall):
        if not call.sandbox_id:
            raise InvalidRequest("port-forward: there is no sandbox id")
        for port in call.ports:
            if not 0 < port < 1 << 16:
                raise InvalidRequest(f"port-forward: {port} is no port")
        return
    verb = VERBS[type(call)]
    if not call.container_id:
        raise InvalidRequest(f"{verb}: there is no container id")
    if call.tty and call.stderr:
        raise InvalidRequest(f"{verb}: with a tty there is no stderr of its own")
    if not (call.stdin or call.stdout or call.stderr):
        raise InvalidRequest(f"{verb}: one of stdin, stdout and stderr must be asked for")
    if isinstance(call, ExecCall) and not call.cmd:
        raise InvalidRequest("exec: there is no command to run")


__all__ = ["VERBS", "AttachCall", "Call", "ExecCall", "ForwardCall", "check_call"]
