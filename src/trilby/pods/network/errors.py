"""What can go wrong with pod networks."""

from __future__ import annotations

from trilby.errors import InvalidInput
from trilby.pods.errors import NetworkFailed, PodsError


class ConflistInvalid(PodsError, InvalidInput):
    """A CNI configuration file cannot be used; the message begins with ``path:line:``."""


class InvalidAttachment(PodsError, InvalidInput):
    """The pod asks for something that no network can be asked, such as a rate of ``fast``."""


class NetworkNotReady(NetworkFailed):
    """There is no usable network configuration, or the network says that it is not ready."""


class PluginNotFound(NetworkFailed):
    """A plugin that the configuration names is in none of the plugin directories."""


class PluginFailed(NetworkFailed):
    """A plugin said no, or said nothing that can be understood.

    ``code`` is the CNI error code (0: it gave none), see the CNI specification, "Error".
    """

    def __init__(self, message: str, *, code: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class MasqueradeFailed(NetworkFailed):
    """The builtin network's packet filter rules could not be set."""


# CNI error codes from here on say that the network takes no pods now.
NOT_AVAILABLE = 50
