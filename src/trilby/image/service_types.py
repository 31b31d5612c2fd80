"""What the image service takes and gives, apart from what one module alone makes."""

from __future__ import annotations

from typing import Literal

import msgspec

PullPolicy = Literal["always", "missing", "newer", "never"]


class PulledImage(msgspec.Struct, frozen=True, kw_only=True):
    """What a pull ended with."""

    id: str
    #: The name as it now stands in the store, fully spelled out.
    name: str
    #: Digest of the manifest or index that the registry has under that name; "" if nothing was
    #: asked (policy "missing" or "never" with the image at hand).
    digest: str
    #: False: the image was there already and nothing was changed.
    changed: bool


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One step of how the image was built, newest first as people expect."""

    created: str
    created_by: str
    comment: str
    #: Bytes of its layer, uncompressed; 0 if it made none.
    size: int
    #: Layer id in the store; "" if the step made no layer.
    layer: str
    #: The image's id at the newest step, else "<missing>".
    id: str
    tags: tuple[str, ...] = ()


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What removing an image did."""

    untagged: tuple[str, ...]
    #: Id of the image record that went, "" if only names went.
    deleted: str
    layers: tuple[str, ...] = ()
    #: Bytes of the layers that went.
    freed: int = 0
