"""Which driver a store has: the one named, the one on disk, or the first of the preferred ones."""

from __future__ import annotations

import os

from trilby.storage.config import StorageConfig
from trilby.storage.drivers.base import Driver
from trilby.storage.drivers.options import driver_options
from trilby.storage.errors import StorageConfigError

DRIVERS = ("overlay", "vfs")
# Drivers of other tools whose stores we recognise, to say so instead of hiding their images.
_FOREIGN = ("btrfs", "zfs", "aufs", "devicemapper")


def open_driver(config: StorageConfig) -> Driver:
    """The store's driver. Raises StorageConfigError."""
    name = "overlay" if config.driver == "overlay2" else config.driver
    name = name or _on_disk(config.graphroot) or _preferred(config)
    if name not in DRIVERS:
        place = config.driver_place
        where = f"{place}: storage.driver" if place else f"opening {config.graphroot}"
        raise StorageConfigError(
            f"{where}: the storage driver {name!r} is not supported",
            hint=f"drivers: {', '.join(DRIVERS)}",
        )
    options = driver_options(config, name)
    if name == "overlay":
        from trilby.storage.drivers.overlay import OverlayDriver

        return OverlayDriver(config.graphroot, config.runroot, options)
    from trilby.storage.drivers.vfs import VfsDriver

    return VfsDriver(config.graphroot, config.runroot, options)


def _on_disk(graphroot: str) -> str:
    """The driver whose directory the store has, "" for a new store."""
    found = [name for name in (*DRIVERS, *_FOREIGN) if os.path.isdir(os.path.join(graphroot, name))]
    if len(found) > 1:
        raise StorageConfigError(
            f"opening {graphroot}: it has layers of several drivers: {', '.join(found)}",
            hint="name one with --storage-driver or driver= in storage.conf",
        )
    return found[0] if found else ""


def _preferred(config: StorageConfig) -> str:
    for name in config.driver_priority:
        if name in DRIVERS:
            return name
    return "overlay"
