"""What can go wrong before a host is looked at; what is wrong with the host is no error."""

from __future__ import annotations

from trilby.errors import InvalidInput, TrilbyError, Unauthorized, Unavailable


class NodeError(TrilbyError):
    """The root of this room's errors."""


class UnknownCheck(NodeError, InvalidInput):
    """There is no check, and no group of checks, of that name."""


class NoHost(NodeError, InvalidInput):
    """The directory that should be a host's root is none."""


class NoCluster(NodeError, InvalidInput):
    """A kubeconfig is missing, or does not say whom to ask and as whom."""


class PeerUnreachable(NodeError, Unavailable):
    """An API server or etcd does not answer, or is not who it should be."""


class PeerRefused(NodeError, Unauthorized):
    """An API server or etcd answers, but does not give what was asked for."""


class LockUnusable(NodeError, InvalidInput):
    """A lock file is not there, or is none."""
