"""Push: from an image of the store to anywhere that takes images."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from trilby.image.copy import copy_image
from trilby.image.copy_types import CopyOptions, accept_anything
from trilby.image.errors import InvalidReference
from trilby.image.progress import Progress, silent
from trilby.image.reference import TRANSPORTS, Reference, is_image_id
from trilby.image.transport import BlobLinker, open_destination
from trilby.image.transports.names import StorageName
from trilby.image.transports.storage import StorageSource

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.service_find import Found
    from trilby.storage.store import Store


async def push(
    store: Store,
    find: Callable[[], Found],
    destination: str,
    *,
    progress: Progress | None,
    context: ImageContext,
    format: Literal["", "oci", "v2s2"],
    compression_format: Literal["", "gzip", "zstd"],
    compression_level: int | None,
    remove_signatures: bool,
) -> str:
    """The digest of the manifest as written; see Images.push."""
    found = await asyncio.to_thread(find)
    target = _target(destination, found)
    reference = Reference.parse(found.name) if found.name else None
    name = StorageName(reference=reference, image_id=found.image.id)
    source = await asyncio.to_thread(StorageSource, store, name, context)
    options = CopyOptions(
        # The policy was asked when the image came: what is in the store may be read from it.
        gate=accept_anything,
        format=format,
        compression=compression_format,
        level=compression_level,
        recompress=bool(compression_format),
        remove_signatures=remove_signatures,
        parallel=context.parallel,
        progress=progress or silent,
    )
    try:
        writer = await open_destination(target, context, store=store)
        try:
            if isinstance(writer, BlobLinker):
                # Its other names say where else a registry has the layers.
                for each in found.image.names:
                    writer.mount_from(Reference.parse(each))
            result = await copy_image(source, writer, options)
        finally:
            await asyncio.shield(asyncio.ensure_future(writer.close()))
    finally:
        await source.close()
    return str(result.digest)


def _target(destination: str, found: Found) -> str:
    """A destination with its transport; a bare name is a registry's. Raises InvalidReference."""
    transport, colon, _ = destination.partition(":")
    if colon and transport in TRANSPORTS:
        return destination
    # The very name of the image may have been short here: a registry needs it spelled out.
    text = found.name if found.name and _means(destination, found.name) else destination
    if is_image_id(text) or not found.name and found.image.id.startswith(text):
        raise InvalidReference(
            f"pushing image {text[:12]}: an id says no registry",
            hint="give a destination, like docker://registry.example/name:tag",
        )
    return f"docker://{Reference.parse(text).with_default_tag()}"


def _means(text: str, stored: str) -> bool:
    head = text if ":" in text.rpartition("/")[2] or "@" in text else f"{text}:latest"
    return stored == head or stored.endswith(f"/{head}")
