"""What ends a stream or a connection, apart from the errors of the engine."""

from __future__ import annotations

from trilby.cri.errors import CriError
from trilby.errors import InvalidInput, Unavailable


class ProtocolViolation(CriError, InvalidInput):
    """The client sent something that the protocol does not allow."""


class BadRequest(CriError, InvalidInput):
    """A request that is answered with an HTTP error; ``headers`` go with the answer."""

    def __init__(self, message: str, *, status: int = 400, headers: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class StreamClosed(CriError, Unavailable):
    """The client does not want this stream any more, or is gone."""


__all__ = ["BadRequest", "ProtocolViolation", "StreamClosed"]
