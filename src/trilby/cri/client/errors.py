"""What a daemon's answers are as errors: the table of cri/codes.py, read backwards."""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio

from trilby.cri.errors import CriError, InvalidRequest, NoSuchObject, Unimplemented
from trilby.errors import Conflict, Corrupt, Refused, Unavailable


class NoDaemon(CriError, Unavailable):
    """Nobody answers on the socket."""


class DaemonFailed(CriError):
    """The daemon could not do it; the text is its own."""


class DaemonUnavailable(CriError, Unavailable):
    """The daemon cannot do it now, or went away."""


class DaemonConflict(CriError, Conflict):
    """It is in use, exists already, or is in another state than the call needs."""


class DaemonRefused(CriError, Refused):
    """Credentials or a policy forbid it."""


class DaemonCorrupt(CriError, Corrupt):
    """Data are not what their digest or length says."""


class DeadlineOver(CriError, Unavailable):
    """The call took longer than its limit."""


class NotByCri(CriError, Unavailable):
    """The CRI has no way to ask for this, or this daemon does not have it."""


Code = grpc.StatusCode

_KINDS: Final[dict[grpc.StatusCode, type[CriError]]] = {
    Code.NOT_FOUND: NoSuchObject,
    Code.INVALID_ARGUMENT: InvalidRequest,
    Code.ALREADY_EXISTS: DaemonConflict,
    Code.FAILED_PRECONDITION: DaemonConflict,
    Code.ABORTED: DaemonConflict,
    Code.PERMISSION_DENIED: DaemonRefused,
    Code.UNAUTHENTICATED: DaemonRefused,
    Code.UNAVAILABLE: DaemonUnavailable,
    Code.RESOURCE_EXHAUSTED: DaemonUnavailable,
    Code.DEADLINE_EXCEEDED: DeadlineOver,
    Code.DATA_LOSS: DaemonCorrupt,
    Code.UNIMPLEMENTED: Unimplemented,
}


def error_of(failed: grpc.aio.AioRpcError, name: str) -> CriError:
    """The error for a call that failed; ``name`` is the RPC's."""
    text = failed.details() or failed.code().name
    return _KINDS.get(failed.code(), DaemonFailed)(f"{name}: {text}")
