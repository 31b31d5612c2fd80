"""Descriptors: what points at a blob (image-spec, descriptor.md), and its platform."""

from __future__ import annotations

from typing import Annotated

import msgspec

from trilby.oci.digest import Digest

Size = Annotated[int, msgspec.Meta(ge=0)]


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which machine an image is for (image-spec, image-index.md, "platform")."""

    architecture: str
    os: str
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: tuple[str, ...] = msgspec.field(name="os.features", default=())
    variant: str = ""
    # Only Docker's lists have it.
    features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A blob: its type, digest, and size in bytes."""

    media_type: str
    digest: Digest
    size: Size
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    # Base64 of the content, for small blobs.
    data: str = ""
    platform: Platform | None = None
    artifact_type: str = ""
