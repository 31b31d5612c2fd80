"""What can go wrong with sandboxes and containers, by what the caller can do about it."""

from __future__ import annotations

from typing import ClassVar

from trilby.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
    TrilbyError,
    Unavailable,
)


class PodsError(TrilbyError):
    """The root of this room's exceptions."""


class SandboxNotFound(PodsError, NotFound):
    """No sandbox has that id."""


class ContainerNotFound(PodsError, NotFound):
    """No container has that id."""


class InvalidPodConfig(PodsError, InvalidInput):
    """A sandbox or container configuration asks for something that cannot be."""


class InvalidEngineConfig(PodsError, InvalidInput):
    """A configuration file is wrong; the message begins with ``path:line:``."""


class NameInUse(PodsError, Conflict):
    """The name belongs to another sandbox or container, which is not in a usable state."""


class SandboxNotReady(PodsError, Conflict):
    """The sandbox is stopped or being removed: it takes no containers."""


class WrongContainerState(PodsError, Conflict):
    """The container is not in the state that the call needs, such as running."""


class PodBusy(PodsError, Unavailable):
    """Another process held the pod's lock for longer than the caller would wait."""


class StateCorrupt(PodsError, Corrupt):
    """A state file on disk does not say what it must."""


class RuntimeFailed(PodsError):
    """The OCI runtime refused or failed; the message has what it said and its command."""


class MonitorFailed(PodsError):
    """conmon did not start, or its files do not answer."""


class NetworkFailed(PodsError, Unavailable):
    """The pod's network could not be set up."""


class StartFailed(RuntimeFailed):
    """A container could not be started; it stays EXITED, code 128, reason StartError."""

    exit_code: ClassVar[int] = 1


class StopFailed(PodsError, Unavailable):
    """Processes did not die of SIGKILL in time; the message says where they hang."""


class ExecTimeout(PodsError, Unavailable):
    """The command ran longer than its timeout, and was killed with all it had started."""


class StreamFailed(PodsError, Unavailable):
    """An attach, exec or port-forward stream broke or could not be opened."""


class HandlerUnknown(PodsError, InvalidInput):
    """No such runtime handler in the configuration."""


class CgroupParentInvalid(PodsError, Refused):
    """The cgroup parent does not fit the cgroup manager."""
