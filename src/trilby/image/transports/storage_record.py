"""Record an image over layers that the store has: its documents, names and signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from trilby.image.transports.names import (
    MANIFEST_KEY,
    SIGNATURES_KEY,
    image_id,
    manifest_key,
    read_sizes,
    signature_metadata,
    signatures_key,
)
from trilby.oci import media
from trilby.oci.digest import Digest
from trilby.oci.image import parse_image_config

if TYPE_CHECKING:
    from trilby.storage.records import Image
    from trilby.storage.store import Store


class ImageDocuments(msgspec.Struct, frozen=True):
    """An image's config, its manifest, and the index (or again the manifest) that it came by."""

    config_digest: Digest
    config_type: str
    config: bytes
    manifest: tuple[Digest, bytes]
    toplevel: tuple[Digest, bytes]


def record_image(
    store: Store,
    documents: ImageDocuments,
    *,
    names: Sequence[str],
    top_layer: str,
    signatures: Sequence[bytes] = (),
) -> Image:
    """Make or complete the image's record; it takes the names from other images.

    An image that is there already keeps its other names, manifests and their signatures. Raises
    DuplicateId and other StorageError kinds.
    """
    manifest_digest, manifest = documents.manifest
    top_digest, top = documents.toplevel
    wanted_id = image_id(documents.config_digest, documents.config)
    # In this order: the first manifest is the digest by which other tools know the image.
    big_data = {
        str(documents.config_digest): documents.config,
        manifest_key(top_digest): top,
        manifest_key(manifest_digest): manifest,
        MANIFEST_KEY: manifest,
    }
    if signatures:
        joined = b"".join(signatures)
        big_data[SIGNATURES_KEY] = joined
        big_data[signatures_key(manifest_digest)] = joined
    present = store.image(wanted_id)
    sizes = read_sizes(present.metadata if present else "")
    created = ""
    if media.is_config(documents.config_type):
        created = parse_image_config(documents.config).created
    return store.create_image(
        wanted_id,
        names=names,
        top_layer=top_layer,
        metadata=signature_metadata(sizes, manifest_digest, signatures),
        big_data=big_data,
        digest=str(top_digest),
        created=created or None,
    )
