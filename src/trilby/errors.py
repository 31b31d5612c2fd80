"""The root of every room's exception tree, and the kinds that decide exit codes.

A room's error class combines what it is about with its kind::

    class ManifestUnknown(ImageError, NotFound): ...

A message says what was being done, to what, and why it failed; ``hint`` says what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class TrilbyError(Exception):
    """Something failed in a way that a person can understand and act on.

    ``exit_code`` is what the command line exits with; see trilby(1), "Exit status".
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInput(TrilbyError):
    """The caller's input is wrong: a flag, a manifest, a configuration file."""

    exit_code = 2


class NotFound(TrilbyError):
    """The named thing does not exist."""

    exit_code = 3


class Unauthorized(TrilbyError):
    """Credentials are missing, wrong, or not enough."""

    exit_code = 4


class Unavailable(TrilbyError):
    """A peer did not answer, or not usably; the same call may succeed later."""

    exit_code = 5


class Corrupt(TrilbyError):
    """Bytes are not what their digest, length or format says."""

    exit_code = 6


class Refused(TrilbyError):
    """A policy or configuration forbids it."""

    exit_code = 7


class StorageFailure(TrilbyError):
    """The disk, its file system or a lock failed."""

    exit_code = 8


class Conflict(TrilbyError):
    """It is in use, exists already, or is in another state than the call needs."""

    exit_code = 9
