"""containers-storage:NAME — images in the local store, as podman, skopeo and CRI-O keep them.

Copying reaches the store through here: this module reads, ``storage_write`` writes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, BinaryIO

from trilby.errors import NotFound
from trilby.image.errors import BlobUnknown, CorruptImage, ImageNotFound, ManifestUnknown
from trilby.image.streams import CHUNK, BytesStream
from trilby.image.transports.names import (
    MANIFEST_KEY,
    SIGNATURES_KEY,
    StorageName,
    manifest_key,
    parse_storage_name,
    read_sizes,
    resolve,
    signatures_key,
    split_signatures,
)
from trilby.image.transports.storage_write import StorageDestination
from trilby.oci import media
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.manifest import Index, Manifest, parse_manifest
from trilby.storage.config import load_storage_config
from trilby.storage.store import Store

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.transport import BlobStream


async def open_source(
    rest: str, context: ImageContext, *, store: Store | None = None
) -> StorageSource:
    """Raises InvalidReference, ImageNotFound, and StorageError kinds of opening a store."""
    name = parse_storage_name(rest)
    opened = await asyncio.to_thread(open_store, name, store)
    return await asyncio.to_thread(StorageSource, opened, name, context)


async def open_destination(
    rest: str, context: ImageContext, *, store: Store | None = None
) -> StorageDestination:
    """Raises InvalidReference, and StorageError kinds of opening a store."""
    name = parse_storage_name(rest)
    opened = await asyncio.to_thread(open_store, name, store)
    return StorageDestination(opened, name.reference, parallel=context.parallel)


def open_store(name: StorageName, store: Store | None) -> Store:
    """The store that brackets in the name say, else the one given, else the system's."""
    if not name.located:
        return store or Store.open(load_storage_config(os.environ))
    config = load_storage_config(
        os.environ,
        root=name.graphroot,
        runroot=name.runroot or None,
        driver=name.driver or None,
        options=name.options or None,
    )
    if store is not None and store.config.graphroot == config.graphroot:
        return store
    return Store.open(config)


class StorageSource:
    """Reads an image of the store. Layers come uncompressed, byte for byte as they once came."""

    transport = "containers-storage"

    def __init__(self, store: Store, name: StorageName, context: ImageContext) -> None:
        self._store = store
        self.image = resolve(store, name, context.platform)
        shown = name.reference or f"@{self.image.id}"
        self.reference = f"containers-storage:{shown}"
        place = f"[{store.driver}@{store.config.graphroot}]"
        self.policy_scope = f"{place}{name.reference or ''}@{self.image.id}"
        self.docker_reference = name.reference
        self._layers: dict[Digest, str] = {}

    async def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        what = f"manifest of {self.reference}"
        keys = [manifest_key(instance)] if instance else self._top_keys()
        for key in keys:
            raw = await self._big_data(key)
            if raw is None:
                continue
            # The index that the image was pulled through says nothing about what is here.
            if instance is None and isinstance(parse_manifest(raw, None, what), Index):
                continue
            if instance is not None and not instance.matches(raw):
                raise CorruptImage(f"reading {what}: it has the digest {Digest.of(raw)}")
            return raw, ""
        raise ManifestUnknown(f"reading {what}: the store has no manifest of it")

    def _top_keys(self) -> list[str]:
        preferred = [f"manifest-{self.image.digest}"] if self.image.digest else []
        return [*preferred, MANIFEST_KEY]

    async def layers_for_copy(self, manifest: Manifest) -> list[Descriptor]:
        """The layers as ``get_blob`` gives them; see transport.LayerRewriter."""
        chain = await asyncio.to_thread(self._chain)
        if len(chain) != len(manifest.layers):
            raise CorruptImage(
                f"reading {self.reference}: the store has {len(chain)} layers of it, "
                f"its manifest {len(manifest.layers)}"
            )
        given: list[Descriptor] = []
        for original, (layer_id, diff_id, size) in zip(manifest.layers, chain, strict=True):
            self._layers[diff_id] = layer_id
            kind = media.with_compression(original.media_type, "")
            given.append(Descriptor(media_type=kind, digest=diff_id, size=size))
        return given

    def _chain(self) -> list[tuple[str, Digest, int]]:
        """Id, diff id and uncompressed size of the image's layers, lowest first."""
        found: list[tuple[str, Digest, int]] = []
        layer_id = self.image.top_layer
        while layer_id:
            layer = self._store.layer(layer_id)
            if layer is None or not layer.diff_id:
                raise CorruptImage(
                    f"reading {self.reference}: layer {layer_id} is missing or has no digest",
                    hint="remove the image and pull it again",
                )
            found.append((layer.id, Digest.parse(layer.diff_id), layer.diff_size))
            layer_id = layer.parent
        return found[::-1]

    async def get_blob(self, descriptor: Descriptor) -> BlobStream:
        if not self._layers:
            await asyncio.to_thread(self._index_layers)
        layer_id = self._layers.get(descriptor.digest)
        if layer_id is not None:
            stream = await asyncio.to_thread(self._store.export_layer, layer_id)
            return ExportStream(stream, descriptor.size)
        raw = await self._big_data(str(descriptor.digest))
        if raw is None:
            raise BlobUnknown(f"reading blob {descriptor.digest} of {self.reference}: not there")
        return BytesStream(raw)

    def _index_layers(self) -> None:
        self._layers = {diff_id: layer_id for layer_id, diff_id, _ in self._chain()}

    async def signatures(self, instance: Digest | None = None) -> list[bytes]:
        sizes = read_sizes(self.image.metadata)
        if instance is None:
            top = Digest.of((await self.get_manifest())[0])
            if str(top) in sizes.signatures_sizes:
                instance = top
        if instance is None:
            data, lengths = await self._big_data(SIGNATURES_KEY), sizes.signature_sizes
        else:
            data = await self._big_data(signatures_key(instance))
            lengths = sizes.signatures_sizes.get(str(instance), ())
        return split_signatures(data or b"", lengths)

    async def _big_data(self, key: str) -> bytes | None:
        try:
            return await asyncio.to_thread(self._store.image_big_data, self.image.id, key)
        except NotFound:
            if await asyncio.to_thread(self._store.image, self.image.id) is None:
                raise ImageNotFound(f"reading {self.reference}: it has been removed") from None
            return None

    async def close(self) -> None:
        return None


class ExportStream:
    """A layer as the store exports it; threads do the reading."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while chunk := await asyncio.to_thread(self._file.read, CHUNK):
            yield chunk

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def close(self) -> None:
        await asyncio.to_thread(self._file.close)
