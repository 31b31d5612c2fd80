"""Where containers' root file systems come from: the store, or anything with the same few calls.

Blocking; the engine calls them in threads.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from trilby.oci.image import ImageConfig
from trilby.oci.runtime import IdMapping
from trilby.pods.spec.security import Labels


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a container needs to know of its image. ``ref`` is a repository digest, or empty."""

    id: str
    ref: str = ""
    config: ImageConfig


class IdMappings(msgspec.Struct, frozen=True):
    """Of the pod's user namespace; empty without one."""

    uids: tuple[IdMapping, ...] = ()
    gids: tuple[IdMapping, ...] = ()


class RootfsProvider(Protocol):
    """Root file systems by container id. All calls are safe in threads."""

    def create(
        self,
        container_id: str,
        full_name: str,
        image: str,
        metadata: str,
        ids: IdMappings,
        labels: Labels,
    ) -> ImageFacts:
        """Make a writable layer over an image, seen through ``ids`` in a user namespace.

        Every file of it has the label for mounts, if there is one.
        Raises an error of kind NotFound without the image.
        """
        ...

    def mount(self, container_id: str) -> str:
        """Mount it and return its directory."""
        ...

    def remove(self, container_id: str) -> None:
        """Unmount and delete it; a missing one is no error."""
        ...

    def mount_image(self, image: str) -> str:
        """Mount an image read-only and return its directory."""
        ...

    def unmount_image(self, image: str) -> None:
        """Give back one mount_image()."""
        ...

    def usage(self, container_id: str) -> tuple[str, int, int]:
        """Directory, bytes and inodes of what the container wrote."""
        ...

    def leftovers(self, known: set[str]) -> list[str]:
        """Ids of containers that the engine made, and does not know (any more)."""
        ...
