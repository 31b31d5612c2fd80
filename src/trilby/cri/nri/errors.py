"""What can go wrong between the daemon and its plugins."""

from __future__ import annotations

from trilby.cri.errors import CriError
from trilby.errors import Conflict, Corrupt, InvalidInput, Unavailable


class NriError(CriError):
    """The root of this folder's exceptions."""


class ProtocolError(NriError, Corrupt):
    """What a plugin sent is not NRI."""


class Disconnected(NriError, Unavailable):
    """The plugin's connection is closed."""


class PluginTimeout(NriError, Unavailable):
    """The plugin did not answer in time."""


class MessageTooLong(NriError, InvalidInput):
    """A message is longer than ttrpc allows; ``length`` is what it has."""

    def __init__(self, length: int, longest: int) -> None:
        super().__init__(f"a message of {length} bytes is longer than {longest}")
        self.length = length


class CallRefused(NriError):
    """The other side answered with an error; ``code`` is a gRPC code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text or f"gRPC code {code}")
        self.code = code


class RegistrationFailed(NriError):
    """A plugin cannot be taken: its name, its index, its events, or it did not register."""


class HookFailed(NriError):
    """A plugin refused the request that it was told of."""


class AdjustmentConflict(NriError, Conflict):
    """Two plugins want the same thing changed."""


class InvalidAdjustment(NriError, InvalidInput):
    """A plugin asks for something that cannot be."""


__all__ = [
    "AdjustmentConflict",
    "CallRefused",
    "Disconnected",
    "HookFailed",
    "InvalidAdjustment",
    "MessageTooLong",
    "NriError",
    "PluginTimeout",
    "ProtocolError",
    "RegistrationFailed",
]
