"""What every call of the store needs: the opened parts, their lock order, and finding layers.

Locks are taken in containers/storage's order: ``storage.lock``, layers, additional layer stores,
images, additional image stores, containers; ``mountpoints.lock`` nests inside the layers'.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec.structs import replace

from trilby.storage.config import StorageConfig
from trilby.storage.containers import ContainerStore
from trilby.storage.drivers.base import Driver, MountRequest
from trilby.storage.drivers.registry import open_driver
from trilby.storage.errors import LayerNotFound, NotMounted, ReadOnlyStore, StoreUnusable
from trilby.storage.images import ImageStore
from trilby.storage.layers import Layers, LayerStore
from trilby.storage.records import Layer
from trilby.system.locks import RecordLock


class StoreBase:
    """The parts of an opened store; use trilby.storage.store.Store."""

    def __init__(self, config: StorageConfig, driver: Driver) -> None:
        self.config = config
        self.driver = driver.name
        self._driver = driver
        self._lock = RecordLock(os.path.join(config.graphroot, "storage.lock"))
        self._layers = LayerStore(
            config.graphroot, config.runroot, driver, transient=config.transient_store
        )
        self._images = ImageStore(config.graphroot, driver.name)
        self._containers = ContainerStore(
            config.graphroot, config.runroot, driver.name, transient=config.transient_store
        )
        others = [path for path in config.additional_image_stores if os.path.isdir(path)]
        self._other_layers = [
            LayerStore(path, config.runroot, driver, read_only=True) for path in others
        ]
        self._other_images = [ImageStore(path, driver.name, read_only=True) for path in others]

    @staticmethod
    def _prepare(config: StorageConfig) -> tuple[StorageConfig, Driver]:
        """The configuration with real paths, and the driver; the directories are there."""
        for path in (config.graphroot, config.runroot):
            _make_directory(path)
        real = replace(
            config,
            graphroot=os.path.realpath(config.graphroot),
            runroot=os.path.realpath(config.runroot),
        )
        driver = open_driver(real)
        for base, part in (
            *((real.graphroot, part) for part in ("", "-layers", "-images", "-containers")),
            *((real.runroot, part) for part in ("-layers", "-containers")),
        ):
            _make_directory(os.path.join(base, driver.name + part))
        return real, driver

    def _find_layer(self, ref: str, doing: str) -> tuple[LayerStore, Layer]:
        """A complete layer and the store that has it, whichever that is."""
        for store in (self._layers, *self._other_layers):
            layer = store.records.snapshot().find(ref)
            if layer is not None and not layer.incomplete:
                return store, layer
        raise LayerNotFound(f"{doing}: there is no layer {ref!r}")

    def _parent_id(self, layers: Layers, ref: str | None, doing: str) -> str | None:
        """The full ID of a parent in this store or an additional one."""
        if not ref:
            return None
        layer = layers.find(ref)
        if layer is not None and not layer.incomplete:
            return layer.id
        for store in self._other_layers:
            layer = store.records.snapshot().find(ref)
            if layer is not None and not layer.incomplete:
                return layer.id
        raise LayerNotFound(f"{doing}: there is no parent layer {ref!r}")

    def _chain(self, layer_id: str) -> list[Layer]:
        """The layer and its parents, as far as they are there."""
        stores = [store.records.snapshot().by_id for store in (self._layers, *self._other_layers)]
        chain: list[Layer] = []
        while layer_id:
            layer = next((known[layer_id] for known in stores if layer_id in known), None)
            if layer is None:
                break
            chain.append(layer)
            layer_id = layer.parent
        return chain

    def _mount(self, ref: str, request: MountRequest, doing: str) -> str:
        """Mount a layer of any of the stores, or count one user more."""
        with self._lock.exclusive():
            self._driver.prepare_mounts()
            # The layers' lock keeps the layer from being deleted while it is mounted.
            with self._layers.records.reading() as layers:
                layer = layers.find(ref)
                if layer is not None and not layer.incomplete:
                    return self._layers.mount(layer, request)
                store, layer = self._find_layer(ref, doing)
                if not request.read_only:
                    raise ReadOnlyStore(
                        f"{doing}: layer {layer.id[:12]} is in a read-only store, {store.directory}"
                    )
                with store.records.reading():
                    return store.mount(layer, request)

    def _unmount(self, ref: str, *, force: bool, doing: str) -> bool:
        with self._layers.records.reading():
            store, layer = self._find_layer(ref, doing)
            try:
                return store.unmount(layer, force=force)
            except NotMounted:
                raise NotMounted(f"{doing}: it is not mounted") from None

    def _mount_of(self, layer_id: str) -> tuple[str, int]:
        """Where a layer is mounted and its users; ("", 0) if it is not, or not any more."""
        entry = self._layers.mounts.read().get(layer_id)
        if entry is None or not self._driver.mounted(entry.path):
            return "", 0
        return entry.path, entry.count


def mount_request(
    *, read_only: bool, options: Sequence[str], label: str, volatile: bool = False
) -> MountRequest:
    """A request with the option ``ro`` understood, as podman passes it."""
    return MountRequest(
        read_only=read_only or "ro" in options,
        options=tuple(options),
        label=label,
        volatile=volatile,
    )


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise StoreUnusable(
            f"opening the store: making {path}: {error.strerror}",
            hint="the host's store needs root; --root and --runroot choose another one",
        ) from error
