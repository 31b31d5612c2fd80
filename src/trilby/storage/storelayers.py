"""The store's calls about layers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from msgspec.structs import replace

from trilby.storage import layers as layer_records
from trilby.storage.containers import Containers
from trilby.storage.errors import DuplicateId, InvalidName, LayerInUse, StorageError, StoreCorrupt
from trilby.storage.images import Images
from trilby.storage.layers import Layers
from trilby.storage.paths import as_path
from trilby.storage.records import Flags, Layer, now
from trilby.storage.staging import COMPRESSION_CODES, StagedLayer
from trilby.storage.storebase import StoreBase, mount_request

if TYPE_CHECKING:
    from pathlib import Path

_HEX = frozenset("0123456789abcdef")


class LayerCalls(StoreBase):
    """Layers of a store; use trilby.storage.store.Store."""

    def stage_layer(self) -> StagedLayer:
        """A place to unpack a layer, whatever its parent; safe for several at once.

        Staging holds a lock file; if this process dies, ``recover`` removes it.
        """
        return StagedLayer(self._layers)

    def commit_layer(
        self,
        staged: StagedLayer,
        *,
        layer_id: str | None = None,
        parent: str | None = None,
        diff_id: str | None = None,
        diff_size: int | None = None,
        compressed_digest: str | None = None,
        compressed_size: int | None = None,
        names: Sequence[str] = (),
        metadata: str = "",
        flags: Flags | None = None,
        big_data: Mapping[str, bytes] | None = None,
    ) -> Layer:
        """Put an applied layer into its place on top of ``parent``; durable and atomic.

        ``layer_id`` None makes a random one. Digests and sizes default to what ``apply`` saw.
        If a layer of this ID is there already with the same diff ID it is returned and the
        staged one removed; with another diff ID, DuplicateId. Raises LayerNotFound for the
        parent, StoreCorrupt if ``diff_id`` is not what was unpacked.
        """
        identity = layer_id or random_id()
        check_id(identity)
        doing = f"committing layer {identity[:12]}"
        applied = staged.applied
        if applied is None:
            raise StorageError(f"{doing}: nothing was unpacked")
        if diff_id and diff_id.startswith("sha256:") and diff_id != applied.diff_id:
            raise StoreCorrupt(f"{doing}: its content is {applied.diff_id}, not {diff_id}")
        layer = Layer(
            id=identity,
            names=tuple(dict.fromkeys(names)),
            metadata=metadata,
            created=now(),
            compressed_digest=compressed_digest or applied.compressed_digest,
            compressed_size=_given(compressed_size, applied.compressed_size),
            diff_id=diff_id or applied.diff_id,
            diff_size=_given(diff_size, applied.diff_size),
            compression=COMPRESSION_CODES.get(applied.compression, 0),
            uids=applied.uids,
            gids=applied.gids,
            flags=dict(flags or {}),
            big_data_names=tuple(big_data or ()),
        )
        try:
            with self._layers.records.writing() as layers:
                layers, _ = self._layers.clean(layers)
                known = self._same_layer(layers, layer)
                if known is not None:
                    return known
                above = self._parent_id(layers, parent, doing)
                layer = replace(layer, parent=above or "")
                self._layers.add(
                    layers, layer, lambda: staged.place(identity, above), big_data=big_data
                )
        finally:
            staged.close()
        return layer

    def _same_layer(self, layers: Layers, layer: Layer) -> Layer | None:
        """The layer that has this ID already. Raises DuplicateId if it is another one."""
        known = layers.by_id.get(layer.id)
        if known is None:
            for store in self._other_layers:
                found = store.records.snapshot().by_id.get(layer.id)
                if found is not None and not found.incomplete and found.diff_id == layer.diff_id:
                    return found
            return None
        if known.diff_id != layer.diff_id:
            raise DuplicateId(
                f"committing layer {layer.id[:12]}: there is one with the content {known.diff_id}"
            )
        return known

    def create_layer(
        self,
        *,
        layer_id: str | None = None,
        parent: str | None = None,
        names: Sequence[str] = (),
        volatile: bool = False,
        mount_label: str = "",
    ) -> Layer:
        """An empty layer to write in, on top of ``parent``."""
        identity = layer_id or random_id()
        check_id(identity)
        with self._layers.records.writing() as layers:
            layers, _ = self._layers.clean(layers)
            if identity in layers.by_id:
                raise DuplicateId(f"creating layer {identity[:12]}: there is one of this ID")
            above = self._parent_id(layers, parent, f"creating layer {identity[:12]}")
            layer = Layer(
                id=identity,
                names=tuple(dict.fromkeys(names)),
                parent=above or "",
                mount_label=mount_label,
                created=now(),
            )
            self._layers.add(
                layers,
                layer,
                lambda: self._driver.create(identity, above, durable=not volatile),
                volatile=volatile,
            )
        return layer

    def layer(self, ref: str) -> Layer | None:
        """The layer of this ID, unique ID prefix or name."""
        for store in (self._layers, *self._other_layers):
            layer = store.records.snapshot().find(ref)
            if layer is not None and not layer.incomplete:
                return layer
        return None

    def layers(self) -> list[Layer]:
        """All complete layers, those of additional stores last."""
        found: dict[str, Layer] = {}
        for store in (self._layers, *self._other_layers):
            for layer in store.records.snapshot().records:
                if not layer.incomplete:
                    found.setdefault(layer.id, layer)
        return list(found.values())

    def layers_by_diff_id(self, digest: str) -> list[Layer]:
        """The layers whose uncompressed archive has this digest."""
        return [layer for layer in self.layers() if layer.diff_id == digest]

    def layers_by_compressed_digest(self, digest: str) -> list[Layer]:
        """The layers that were made from a blob of this digest."""
        return [layer for layer in self.layers() if layer.compressed_digest == digest]

    def delete_layer(self, ref: str) -> None:
        """Delete a layer that nothing needs. Raises LayerInUse, ReadOnlyStore."""
        doing = f"deleting layer {ref[:12]}"
        with (
            self._layers.temp.directory() as here,
            self._driver.temp.directory() as there,
            self._layers.records.writing() as layers,
        ):
            layers, _ = self._layers.clean(layers)
            layer = layer_records.need(layers, ref, doing)
            layer_records.check_unused(layers, layer.id, doing)
            with (
                self._images.records.reading() as images,
                self._containers.records.reading() as containers,
            ):
                if layer.id in used_layers(images, containers):
                    raise LayerInUse(f"{doing}: an image or a container needs it")
            if self._layers.mounts.read().get(layer.id) and self._mount_of(layer.id)[1]:
                raise LayerInUse(f"{doing}: it is mounted", hint="unmount it first")
            self._layers.delete(layers, [layer.id], here, there)

    def export_layer(self, ref: str) -> BinaryIO:
        """The layer's uncompressed archive, byte for byte as it came if its tar-split is there.

        The caller closes the stream. Raises CorruptLayer while reading if a file has changed.
        """
        from trilby.storage.streams import iterator_stream

        store, layer = self._find_layer(ref, f"exporting layer {ref[:12]}")
        journal = store.tar_split(layer.id)
        if os.path.exists(journal):
            from trilby.storage.assemble import assemble

            return iterator_stream(assemble(journal, self._driver.roots(layer.id)))
        return iterator_stream(self._driver.diff(layer.id, layer.parent or None))

    def layer_big_data(self, ref: str, key: str) -> bytes:
        """A layer's data under a key. Raises BigDataNotFound."""
        store, layer = self._find_layer(ref, f"reading {key!r} of layer {ref[:12]}")
        return store.data.read(layer.id, key)

    def mount_layer(
        self, ref: str, *, read_only: bool = False, label: str = "", options: Sequence[str] = ()
    ) -> Path:
        """Mount a layer, or count one user more of a mounted one; its root directory."""
        request = mount_request(read_only=read_only, options=options, label=label)
        return as_path(self._mount(ref, request, f"mounting layer {ref[:12]}"))

    def unmount_layer(self, ref: str, *, force: bool = False) -> bool:
        """Count one user less, and unmount with the last one or with ``force``.

        True if it is still mounted for others. Raises NotMounted.
        """
        return self._unmount(ref, force=force, doing=f"unmounting layer {ref[:12]}")


def used_layers(images: Images, containers: Containers) -> set[str]:
    """The IDs of layers that images and containers stand on."""
    used = {container.layer_id for container in containers.records}
    for image in images.records:
        used.add(image.top_layer)
        used.update(image.mapped_layers)
    return used


def random_id() -> str:
    """A new ID: 64 hex digits."""
    return os.urandom(32).hex()


def check_id(identity: str) -> None:
    """Raise InvalidName unless it is 64 lowercase hex digits."""
    if len(identity) != 64 or not _HEX.issuperset(identity):
        raise InvalidName(f"{identity[:70]!r} is not an ID: 64 lowercase hex digits")


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
