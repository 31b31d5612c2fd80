"""What can go wrong in the packaging room: one tree, each class combined with its kind."""

from __future__ import annotations

from trilby.errors import (
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
    TrilbyError,
    Unavailable,
)


class RpmError(TrilbyError):
    """The root of the packaging room's errors."""


class InvalidProject(RpmError, InvalidInput):
    """A project's metadata or a package's YAML is wrong; says ``path:line:`` where it is known."""


class InvalidSpec(RpmError, InvalidInput):
    """A spec or its template is wrong; says ``path:line:`` where it is known."""


class ToolMissing(RpmError, NotFound):
    """A program of RPM's family is not where it was looked for."""


class MissingDependency(RpmError, Unavailable):
    """The repositories lack a package that a build or an installation needs."""


class BuildFailed(RpmError):
    """A step of the build failed; the message has the failing part of the log, ``log`` its path."""

    def __init__(self, message: str, *, log: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log = log


class LintFailed(RpmError):
    """rpmlint has errors or warnings that no filter explains."""


class SigningFailed(RpmError):
    """A key cannot be made, or a package or repository cannot be signed with it."""


class KeyNotFound(RpmError, NotFound):
    """There is no key where one was looked for."""


class NothingToDo(RpmError, NotFound):
    """A directory has no packages, or is not there."""


class NotVerified(RpmError, Corrupt):
    """A package's digest or signature is wrong, or there is no signature."""


class ToolRefused(RpmError, Refused):
    """Root's rights are missing for what the toolkit has to do."""
