"""How much of the graph root images and containers use, for the kubelet's garbage collection.

A layer of an image never changes, so it is walked once; what containers write is walked anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import msgspec

from trilby.pods.container_rootfs_store import tree_usage
from trilby.storage.store import Store


class Used(msgspec.Struct, frozen=True):
    """On disk."""

    bytes: int = 0
    inodes: int = 0


class ImageUsage:
    """Safe in threads; who asks while another measures gets to wait for that."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._layers: dict[str, Used] = {}

    def measure(self) -> tuple[Used, Used]:
        """(images, containers' writable layers)."""
        with self._lock:
            writable = {container.layer_id for container in self._store.containers()}
            layers = {layer.id for layer in self._store.layers()} - writable
            known = {some: used for some, used in self._layers.items() if some in layers}
            for layer_id in layers - known.keys():
                known[layer_id] = self._walk(layer_id)
            self._layers = known
            documents = sum(
                size for image in self._store.images() for size in image.big_data_sizes.values()
            )
            images = total(known.values())
            images = Used(images.bytes + documents, images.inodes)
            return images, total(map(self._walk, writable))

    def _walk(self, layer_id: str) -> Used:
        # overlay keeps a layer's files in <layer>/diff, vfs whole trees in dir/<layer>.
        root, driver = self._store.config.graphroot, self._store.driver
        folder = f"dir/{layer_id}" if driver == "vfs" else f"{layer_id}/diff"
        return Used(*tree_usage(f"{root}/{driver}/{folder}"))


def total(parts: Iterable[Used]) -> Used:
    """The sum of them."""
    used = list(parts)
    return Used(sum(part.bytes for part in used), sum(part.inodes for part in used))
