"""What can go wrong between a CRI caller and the engine, apart from the engine's own errors."""

from __future__ import annotations

from trilby.errors import Conflict, InvalidInput, NotFound, TrilbyError, Unavailable


class CriError(TrilbyError):
    """The root of this room's exceptions."""


class InvalidRequest(CriError, InvalidInput):
    """A message lacks a field, or has a value that the API does not allow."""


class NoSuchObject(CriError, NotFound):
    """An id that must name something does not."""


class SocketBusy(CriError, Conflict):
    """Another daemon answers on the socket."""


class NotServing(CriError, Unavailable):
    """The daemon is starting or ending."""


class Unimplemented(CriError):
    """An RPC that this daemon does not have."""


class TooManyStreams(CriError, Unavailable):
    """Too many exec, attach and port-forward URLs wait to be used."""


class PullStalled(CriError, Unavailable):
    """A registry went silent in the middle of a pull."""


class PullFailed(CriError):
    """A pull failed; ``cause`` says why, and decides the code and the text's first word."""

    def __init__(self, cause: TrilbyError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.cause = cause
