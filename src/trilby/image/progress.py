"""What a copy tells its caller while it runs: small events, sent to one callable.

Events come on the event loop's thread, in order per blob; a callable that raises ends the copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from trilby.oci.digest import Digest

BlobKind = Literal["layer", "config"]


class CopyStarted(msgspec.Struct, frozen=True, tag=True):
    """One image begins; ``blobs`` are still to be looked at, ``size`` is their sum in bytes.

    A copy of several platforms sends one such event per platform.
    """

    reference: str
    digest: Digest
    platform: str
    blobs: int
    size: int


class BlobStarted(msgspec.Struct, frozen=True, tag=True):
    """A blob's bytes begin to come. ``size`` in bytes as the manifest says, -1 if it does not."""

    digest: Digest
    size: int
    kind: BlobKind
    index: int


class BlobProgress(msgspec.Struct, frozen=True, tag=True):
    """``done`` of ``total`` bytes (as transferred, so compressed) have come."""

    digest: Digest
    done: int
    total: int


class BlobDone(msgspec.Struct, frozen=True, tag=True):
    """A blob is at its destination; ``reused`` says that nothing was fetched for it."""

    digest: Digest
    size: int
    kind: BlobKind
    index: int
    reused: bool


class ManifestWritten(msgspec.Struct, frozen=True, tag=True):
    """A manifest or index is at its destination, under this digest."""

    digest: Digest
    media_type: str


class Retrying(msgspec.Struct, frozen=True, tag=True):
    """Something failed and is tried again (the next candidate, mirror or attempt)."""

    what: str
    reason: str


Event = CopyStarted | BlobStarted | BlobProgress | BlobDone | ManifestWritten | Retrying
Progress = Callable[[Event], None]


def silent(_event: Event) -> None:
    """The progress callable of callers that do not want to know."""
