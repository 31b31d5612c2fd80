"""The store's calls about images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trilby.storage.errors import DuplicateId, ImageInUse, ImageNotFound, ReadOnlyStore
from trilby.storage.images import Images, ImageStore, need, renamed
from trilby.storage.layers import Layers
from trilby.storage.paths import as_path
from trilby.storage.records import Flags, Image, now
from trilby.storage.storebase import mount_request
from trilby.storage.storelayers import LayerCalls, check_id, random_id, used_layers

if TYPE_CHECKING:
    from pathlib import Path


class ImageCalls(LayerCalls):
    """Images of a store; use trilby.storage.store.Store."""

    def create_image(
        self,
        image_id: str | None = None,
        *,
        names: Sequence[str] = (),
        top_layer: str = "",
        metadata: str = "",
        big_data: Mapping[str, bytes] | None = None,
        digest: str = "",
        created: str | None = None,
        flags: Flags | None = None,
    ) -> Image:
        """Record an image. Names move to it from whatever image has them.

        An image of this ID over the same top layer gets the names, metadata and data in
        addition; over another top layer it is DuplicateId. ``created`` is RFC 3339 (now by
        default); ``digest`` defaults to that of the big data ``manifest``.
        """
        identity = image_id or random_id()
        check_id(identity)
        doing = f"recording image {identity[:12]}"
        with self._layers.records.reading() as layers:
            top = self._parent_id(layers, top_layer, doing) or ""
            with self._images.records.writing() as images:
                image = images.by_id.get(identity)
                if image is None:
                    image = Image(id=identity, top_layer=top, created=created or now())
                elif image.top_layer != top:
                    raise DuplicateId(
                        f"{doing}: there is one over another layer, {image.top_layer[:12]}",
                        hint="remove that image first",
                    )
                image = replace(
                    image,
                    digest=digest or image.digest,
                    metadata=metadata or image.metadata,
                    flags={**image.flags, **(flags or {})},
                )
                image = self._images.add_data(image, big_data or {})
                saved = self._images.records.save(renamed(images, image, [*image.names, *names]))
        return saved.by_id[identity]

    def image(self, ref: str) -> Image | None:
        """The image of this ID, unique ID prefix or name."""
        for store in (self._images, *self._other_images):
            image = store.records.snapshot().find(ref)
            if image is not None:
                return image
        return None

    def images(self) -> list[Image]:
        """All images, those of additional stores last."""
        found: dict[str, Image] = {}
        for image in self.image_records():
            found.setdefault(image.id, image)
        return list(found.values())

    def image_records(self) -> list[Image]:
        """As ``images()``, but one that several stores have comes from each, by its names there."""
        stores = (self._images, *self._other_images)
        return [image for store in stores for image in store.records.snapshot().records]

    def images_by_digest(self, digest: str) -> list[Image]:
        """The images that have a manifest of this digest."""
        return [image for image in self.images() if digest in image.digests]

    def image_is_read_only(self, ref: str) -> bool:
        """Whether the image lives in an additional image store. Raises ImageNotFound."""
        store, _ = self._find_image(ref, f"looking for image {ref}")
        return store is not self._images

    def image_size(self, ref: str) -> int:
        """Bytes of all its layers, uncompressed, and of its big data."""
        _, image = self._find_image(ref, f"measuring image {ref}")
        layers = sum(max(layer.diff_size, 0) for layer in self._chain(image.top_layer))
        return layers + sum(image.big_data_sizes.values())

    def image_sizes(self) -> dict[str, int]:
        """``image_size`` of all images by their IDs, in one go."""
        known = {layer.id: layer for layer in reversed(self.layers())}
        sizes: dict[str, int] = {}

        def below(identity: str) -> int:
            total = 0
            while identity in known:
                total += max(known[identity].diff_size, 0)
                identity = known[identity].parent
            return total

        for image in self.images():
            sizes[image.id] = below(image.top_layer) + sum(image.big_data_sizes.values())
        return sizes

    def set_image_names(self, ref: str, names: Sequence[str]) -> Image:
        """Give the image exactly these names; each is taken from the image that had it."""
        return self._rename(ref, lambda _: names)

    def add_image_names(self, ref: str, names: Iterable[str]) -> Image:
        """Give the image these names besides its own."""
        wanted = tuple(names)
        return self._rename(ref, lambda image: [*image.names, *wanted])

    def remove_image_names(self, ref: str, names: Iterable[str]) -> Image:
        """Take these names from the image; those it does not have are ignored."""
        gone = frozenset(names)
        return self._rename(ref, lambda image: [name for name in image.names if name not in gone])

    def _rename(self, ref: str, names: Callable[[Image], Sequence[str]]) -> Image:
        with self._images.records.writing() as images:
            image = self._own_image(images, ref, f"naming image {ref}")
            saved = self._images.records.save(renamed(images, image, names(image)))
            return saved.by_id[image.id]

    def set_image_metadata(self, ref: str, metadata: str) -> Image:
        """Replace the image's metadata text."""
        with self._images.records.writing() as images:
            image = self._own_image(images, ref, f"changing image {ref}")
            image = replace(image, metadata=metadata)
            self._images.records.save(images.with_record(image))
            return image

    def image_big_data(self, ref: str, key: str) -> bytes:
        """The image's data under a key, such as ``manifest``. Raises BigDataNotFound."""
        store, image = self._find_image(ref, f"reading {key!r} of image {ref}")
        return store.data.read(image.id, key)

    def set_image_big_data(self, ref: str, key: str, data: bytes) -> Image:
        """Store data under a key of the image."""
        with self._images.records.writing() as images:
            image = self._own_image(images, ref, f"writing {key!r} of image {ref}")
            image = self._images.add_data(image, {key: data})
            self._images.records.save(images.with_record(image))
            return image

    def delete_image(self, ref: str) -> list[str]:
        """Delete an image and the layers that nothing else needs; the layers' IDs.

        Raises ImageInUse if a container was made from it, ReadOnlyStore.
        """
        doing = f"deleting image {ref}"
        with (
            self._layers.temp.directory() as here,
            self._driver.temp.directory() as there,
            self._layers.records.writing() as layers,
            self._images.records.writing() as images,
        ):
            layers, _ = self._layers.clean(layers)
            image = self._own_image(images, ref, doing)
            with self._containers.records.reading() as containers:
                users = [one.id[:12] for one in containers.records if one.image_id == image.id]
                if users:
                    raise ImageInUse(
                        f"{doing}: containers were made from it: {', '.join(users)}",
                        hint="remove the containers first",
                    )
                rest = images.without([image.id])
                used = used_layers(rest, containers)
            self._images.records.save(rest)
            self._images.data.delete(image.id)
            gone = unneeded_layers(layers, image, used)
            if gone:
                self._layers.delete(layers, gone, here, there)
        return gone

    def mount_image(self, ref: str, *, label: str = "", options: Sequence[str] = ()) -> Path:
        """Mount an image's top layer, read-only, and count one user more."""
        doing = f"mounting image {ref}"
        _, image = self._find_image(ref, doing)
        request = mount_request(read_only=True, options=options, label=label)
        return as_path(self._mount(image.top_layer, request, doing))

    def unmount_image(self, ref: str, *, force: bool = False) -> bool:
        """Count one user less; see ``unmount_layer``."""
        doing = f"unmounting image {ref}"
        _, image = self._find_image(ref, doing)
        return self._unmount(image.top_layer, force=force, doing=doing)

    def image_mounts(self) -> list[tuple[Image, str, int]]:
        """The mounted images: each with its directory and its number of users."""
        mounted = self._layers.mounts.read()
        found = []
        for image in self.images() if mounted else ():
            entry = mounted.get(image.top_layer)
            if entry is not None and self._driver.mounted(entry.path):
                found.append((image, entry.path, entry.count))
        return found

    def _find_image(self, ref: str, doing: str) -> tuple[ImageStore, Image]:
        for store in (self._images, *self._other_images):
            image = store.records.snapshot().find(ref)
            if image is not None:
                return store, image
        raise ImageNotFound(f"{doing}: there is no such image")

    def _own_image(self, images: Images, ref: str, doing: str) -> Image:
        """The image to change. Raises ReadOnlyStore if only an additional store has it."""
        if images.find(ref) is None:
            for store in self._other_images:
                if store.records.snapshot().find(ref) is not None:
                    raise ReadOnlyStore(f"{doing}: it is in the read-only store {store.directory}")
        return need(images, ref, doing)


def unneeded_layers(layers: Layers, image: Image, used: set[str]) -> list[str]:
    """The image's layers that can go with it, children before their parents."""
    children: dict[str, set[str]] = {}
    for layer in layers.records:
        children.setdefault(layer.parent, set()).add(layer.id)
    gone: list[str] = []
    for identity in (*image.mapped_layers, image.top_layer):
        while identity in layers.by_id and identity not in used and identity not in gone:
            if not children.get(identity, set()).issubset(gone):
                break
            gone.append(identity)
            identity = layers.by_id[identity].parent
    return gone
