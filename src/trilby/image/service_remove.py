"""Remove images, with podman's rules for names and ids, and prune those that nobody needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trilby.errors import TrilbyError
from trilby.image.errors import ImageInUse
from trilby.image.prune import ImageFilter
from trilby.image.service_list import LayerSizes
from trilby.image.service_types import Removed

if TYPE_CHECKING:
    from trilby.image.service_find import Found
    from trilby.storage.records import Image
    from trilby.storage.store import Store


def used_by(store: Store, image_id: str) -> list[str]:
    """Names (or else ids) of the containers made from an image."""
    return [
        container.names[0] if container.names else container.id[:12]
        for container in store.containers()
        if container.image_id == image_id
    ]


def refuse_read_only(store: Store, found: Found) -> None:
    """Raises ReadOnlyStore if the name is one that an additional store gives."""
    others = bool(store.config.additional_image_stores)
    if others and found.name and store.image_is_read_only(found.name):
        from trilby.storage.errors import ReadOnlyStore

        raise ReadOnlyStore(
            f"taking the name {found.name} from image {found.image.id[:12]}: "
            "it is in an additional image store, which is only read"
        )


def remove(store: Store, found: Found, *, force: bool = False) -> Removed:
    """Raises ImageInUse, ReadOnlyStore; see Images.remove."""
    image = found.image
    refuse_read_only(store, found)
    if found.name and len(image.names) > 1:
        store.remove_image_names(image.id, [found.name])
        return Removed(untagged=(found.name,), deleted="")
    if len(image.names) > 1 and not force:
        raise ImageInUse(
            f"removing image {image.id[:12]}: it has several names: {', '.join(image.names)}",
            hint="remove it by one of them, or use --force to remove them all",
        )
    users = used_by(store, image.id)
    if users:
        raise ImageInUse(
            f"removing image {image.id[:12]}: containers were made from it: {', '.join(users)}",
            hint="remove these containers first",
        )
    return _delete(store, image)


def _delete(store: Store, image: Image) -> Removed:
    sizes = LayerSizes(store.layers())
    layers = store.delete_image(image.id)
    return Removed(
        untagged=image.names,
        deleted=image.id,
        layers=tuple(layers),
        freed=sum(sizes.layer(layer) for layer in layers),
    )


def prune(
    store: Store, *, all_unused: bool, filters: Sequence[str], dry_run: bool, now: float
) -> list[Removed]:
    """See Images.prune. An image that somebody begins to use meanwhile stays."""
    wanted = ImageFilter.parse(filters, now)
    in_use = {container.image_id for container in store.containers()}
    others = bool(store.config.additional_image_stores)
    removed: list[Removed] = []
    for image in store.images():
        if image.id in in_use or (image.names and not all_unused):
            continue
        if others and store.image_is_read_only(image.id):
            continue
        if not wanted.matches(store, image):
            continue
        if dry_run:
            removed.append(_plan(store, image, removed))
            continue
        try:
            removed.append(_delete(store, image))
        except TrilbyError:
            if store.image(image.id) is not None and not used_by(store, image.id):
                raise
    return removed


def _plan(store: Store, image: Image, before: Sequence[Removed]) -> Removed:
    """What deleting the image would free, once those planned before it are gone."""
    layers = {layer.id: layer for layer in store.layers()}
    gone = {planned.deleted for planned in before} | {image.id}
    taken = {layer for planned in before for layer in planned.layers}
    kept: set[str] = {container.layer_id for container in store.containers()}
    for other in store.images():
        if other.id not in gone:
            kept |= {other.top_layer, *other.mapped_layers}
    needed: set[str] = set()
    for layer_id in kept:
        while layer_id and layer_id not in needed and layer_id in layers:
            needed.add(layer_id)
            layer_id = layers[layer_id].parent
    going: list[str] = []
    layer_id = image.top_layer
    while layer_id in layers and layer_id not in needed and layer_id not in taken:
        going.append(layer_id)
        layer_id = layers[layer_id].parent
    return Removed(
        untagged=image.names,
        deleted=image.id,
        layers=tuple(going),
        freed=sum(max(layers[layer].diff_size, 0) for layer in going),
    )
