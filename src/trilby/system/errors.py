"""What can go wrong at the door to the kernel, beyond plain OSError."""

from __future__ import annotations

from trilby.errors import Conflict, InvalidInput, StorageFailure, TrilbyError


class HostError(TrilbyError):
    """The root of this room's errors: the host could not do what was asked of it."""


class LockBusy(HostError, Conflict):
    """Somebody else holds the lock, and the caller did not want to wait (longer)."""


class LockFailed(HostError, StorageFailure):
    """The lock file cannot be opened or locked."""


class TreeBusy(HostError, Conflict):
    """A directory tree cannot be removed because something is mounted in it."""


class ConfigSyntaxError(HostError, InvalidInput):
    """A file is not TOML or not JSON; the message starts with ``path:line:``."""


class NamespaceFailed(HostError):
    """A namespace could not be made, pinned or entered."""


class CgroupFailed(HostError):
    """A cgroup could not be made, changed, read or removed."""
