"""Lists of the store's images. On the way of ``trilby image list``: import nothing heavy here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trilby.storage.records import parse_time

if TYPE_CHECKING:
    from trilby.image.prune import ImageFilter
    from trilby.storage.records import Image, Layer
    from trilby.storage.store import Store

NANOSECONDS = 1_000_000_000


class ImageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of images."""

    id: str
    #: ``host/path:tag``, fully spelled out; empty for a dangling image.
    names: tuple[str, ...]
    #: ``host/path@sha256:...`` for every known manifest digest of every name's repository.
    repo_digests: tuple[str, ...]
    #: Digest of the manifest.
    digest: str
    #: Seconds since 1970.
    created: float
    #: Bytes of all layers, uncompressed, and of the image's own documents.
    size: int
    #: Names it once had.
    history: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def dangling(self) -> bool:
        return not self.names


class LayerSizes:
    """Sizes of images, from one reading of the layers."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = {layer.id: layer for layer in layers}
        self._known: dict[str, int] = {"": 0}

    def image(self, image: Image) -> int:
        """Bytes of its layers, uncompressed, and of its documents."""
        return self.chain(image.top_layer) + sum(image.big_data_sizes.values())

    def chain(self, top: str) -> int:
        """Bytes of a layer and all below it."""
        path: list[Layer] = []
        while top not in self._known:
            layer = self._layers.get(top)
            if layer is None:
                self._known[top] = 0
                break
            path.append(layer)
            top = layer.parent
        total = self._known[top]
        for layer in reversed(path):
            total += max(layer.diff_size, 0)
            self._known[layer.id] = total
        return total

    def layer(self, layer_id: str) -> int:
        """Bytes of one layer; 0 if it is not there or nobody knows."""
        layer = self._layers.get(layer_id)
        return max(layer.diff_size, 0) if layer else 0


def summaries(store: Store, wanted: ImageFilter | None = None) -> list[ImageSummary]:
    """All images, or those that a filter wants, the newest first."""
    sizes = LayerSizes(store.layers())
    found = [
        summary(store, image, sizes)
        for image in store.images()
        if wanted is None or wanted.matches(store, image)
    ]
    found.sort(key=lambda item: (-item.created, item.names, item.id))
    return found


def summary(store: Store, image: Image, sizes: LayerSizes) -> ImageSummary:
    """One image's line."""
    # Asking per image costs a look at every store; without other stores the answer is known.
    others = bool(store.config.additional_image_stores)
    return ImageSummary(
        id=image.id,
        names=image.names,
        repo_digests=repo_digests(image),
        digest=image.digest,
        created=parse_time(image.created) / NANOSECONDS,
        size=sizes.image(image),
        history=image.names_history,
        read_only=others and store.image_is_read_only(image.id),
    )


def repo_digests(image: Image) -> tuple[str, ...]:
    """``host/path@digest`` for every repository of its names and every manifest digest."""
    repositories = dict.fromkeys(repository(name) for name in image.names)
    return tuple(f"{repo}@{digest}" for repo in repositories for digest in image.digests)


def repository(name: str) -> str:
    """A stored name without its tag or digest (the store's names are well-formed)."""
    head = name.partition("@")[0]
    slash = head.rfind("/")
    colon = head.rfind(":")
    return head[:colon] if colon > slash else head


def repo_tags(image: Image) -> tuple[str, ...]:
    """Its names that have tags."""
    return tuple(name for name in image.names if "@" not in name)
