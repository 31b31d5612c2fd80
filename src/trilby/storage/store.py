"""The store: layers, images and containers on disk, shared with podman, skopeo and CRI-O."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trilby.storage.config import StorageConfig
from trilby.storage.errors import InvalidName
from trilby.storage.records import Container, Image, Layer, Recovered
from trilby.storage.storecontainers import ContainerCalls
from trilby.system.locks import Hold, RecordLock

if TYPE_CHECKING:
    from trilby.storage.check import Checked

__all__ = ["Recovered", "Store"]


class Store(ContainerCalls):
    """One opened store. All calls block; all are safe in threads and among processes.

    IDs are 64 lowercase hex digits. Methods that take ``ref`` accept an ID, a unique prefix of
    an ID, or a name exactly as stored (names are normalised by the caller). Lookups give None
    for what is not there; everything else raises a NotFound of trilby.storage.errors. Lookups
    search this store first, then the additional image stores, which are never written.

    The calls are in storelayers, storeimages and storecontainers.
    """

    @classmethod
    def open(cls, config: StorageConfig) -> Store:
        """Open the store, making its directories if there are none.

        Raises StorageConfigError (unknown driver or option, more than one driver on disk and
        none named), StoreUnusable.
        """
        return cls(*cls._prepare(config))

    def close(self) -> None:
        """Forget the store; closing twice is fine. What is mounted stays mounted."""
        self._driver.release_mounts(self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lookup(self, id_or_name: str) -> Container | Image | Layer | None:
        """Whatever has this ID or name: a container, else an image, else a layer."""
        return self.container(id_or_name) or self.image(id_or_name) or self.layer(id_or_name)

    def recover(self) -> Recovered:
        """Remove what killed processes left: incomplete layers, dead staging, orphans.

        Staging whose lock is held is alive and stays. Safe beside other tools and at any time.
        """
        from trilby.storage.recovery import recover

        return recover(self._driver, self._layers, self._images, self._containers)

    def check(self, *, contents: bool = False) -> Checked:
        """Compare what is on disk with the records, and change nothing.

        ``contents`` reads every layer and compares its digest. A tar-split or a name is not
        missed: without them a layer is exported or named in another way.
        """
        from trilby.storage.check import check_store

        return check_store(
            self._driver,
            self._layers,
            self._images,
            self._containers,
            self.export_layer,
            known_elsewhere={
                layer.id
                for store in self._other_layers
                for layer in store.records.snapshot().records
            },
            contents=contents,
        )

    def lock_blob(self, digest: str, *, timeout: float | None = None) -> Hold:
        """Hold the lock that podman and CRI-O hold while they store the blob ``sha256:<hex>``.

        Give it back with ``release``. ``timeout`` in seconds raises LockBusy.
        """
        if "/" in digest:
            raise InvalidName(f"locking blob {digest!r}: it is not a digest")
        folder = os.path.join(self.config.runroot, f"{self.driver}-locks")
        return RecordLock(os.path.join(folder, digest)).exclusive(timeout=timeout)
