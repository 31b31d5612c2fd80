"""What can go wrong before a host is looked at; what is wrong with the host is no error."""

from __future__ import annotations

from trilby.errors import InvalidInput, TrilbyError


class NodeError(TrilbyError):
    """The root of this room's errors."""


class UnknownCheck(NodeError, InvalidInput):
    """There is no check, and no group of checks, of that name."""


class NoHost(NodeError, InvalidInput):
    """The directory that should be a host's root is none."""
