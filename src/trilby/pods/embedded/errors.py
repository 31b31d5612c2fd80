"""What can go wrong with a pod that the command itself runs."""

from __future__ import annotations

from trilby.errors import Conflict, InvalidInput, NotFound
from trilby.pods.errors import PodsError


class PodNotFound(PodsError, NotFound):
    """No pod has that name, uid or id."""


class AmbiguousPod(PodsError, InvalidInput):
    """A name or id prefix fits several pods."""


class PodExists(PodsError, Conflict):
    """A pod of that name is there already."""


class PodRunning(PodsError, Conflict):
    """The pod runs, and what was asked needs it stopped."""


class VolumeFailed(PodsError):
    """A volume of the manifest could not be prepared."""


class ContainerRefused(PodsError, InvalidInput):
    """A container's settings contradict its image, such as runAsNonRoot with a root image."""
