"""What a copy is told (CopyOptions, Gate) and what it tells at its end (CopyResult)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from trilby.image.context import DEFAULT_PARALLEL
from trilby.image.progress import Progress, silent
from trilby.image.transport import CompressionChoice, Source
from trilby.oci.descriptor import Platform
from trilby.oci.digest import Digest

#: "system": the instance for one platform; "all": the index and every instance; "index-only":
#: the index alone, for a destination that has the instances already.
Which = Literal["system", "all", "index-only"]


class UnverifiedImage(msgspec.Struct, frozen=True):
    """A manifest that a trust policy has not looked at yet, and where its signatures are."""

    source: Source
    raw: bytes
    media_type: str
    digest: Digest
    #: Its digest in the index it belongs to; None for the top manifest.
    instance: Digest | None

    async def signatures(self) -> list[bytes]:
        return await self.source.signatures(self.instance)


#: Asked before anything of an image is used; raises (a Refused kind) to stop the copy.
Gate = Callable[[UnverifiedImage], Awaitable[None]]


async def accept_anything(_image: UnverifiedImage) -> None:
    """The gate of callers that have decided to trust the source."""


class CopyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to copy. The defaults copy this machine's instance and change as little as possible."""

    gate: Gate = accept_anything
    which: Which = "system"
    platform: Platform | None = None
    #: Refuse to write any other manifest than the source's.
    preserve_digests: bool = False
    #: Force a manifest format.
    format: Literal["", "oci", "v2s2"] = ""
    #: In place of the destination's own choice.
    layers: CompressionChoice | None = None
    #: Format for layers that get compressed; "" is gzip.
    compression: Literal["", "gzip", "zstd"] = ""
    #: The format's own scale: gzip 0..9, zstd 1..22; None is a good default.
    level: int | None = None
    #: Also change layers that come compressed in another format than ``compression``.
    recompress: bool = False
    remove_signatures: bool = False
    #: Layers copied at the same time.
    parallel: int = DEFAULT_PARALLEL
    progress: Progress = silent


class CopyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    #: Digest and type of the top manifest at the destination.
    digest: Digest
    media_type: str
    raw: bytes
    #: Digest of the top manifest as the source has it.
    source_digest: Digest
    #: Digest of the config of the image that was copied; None for a copy of an index.
    config: Digest | None
    #: Bytes that were transferred, as the source has them; reused blobs do not count.
    transferred: int
