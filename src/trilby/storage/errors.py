"""What can go wrong in the store: one tree, each class combined with the kind that decides exits.

Modules that unpack and read archives add their own classes below ``StorageError``.
"""

from __future__ import annotations

from trilby.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
    StorageFailure,
    TrilbyError,
)


class StorageError(TrilbyError):
    """The root of the storage room's errors."""


class StorageConfigError(StorageError, InvalidInput):
    """storage.conf, a drop-in, an environment variable or a flag is wrong; says ``path:line:``."""


class LayerNotFound(StorageError, NotFound):
    """No layer has this ID or name."""


class ImageNotFound(StorageError, NotFound):
    """No image has this ID, unique ID prefix or name."""


class ContainerNotFound(StorageError, NotFound):
    """No container has this ID, unique ID prefix or name."""


class BigDataNotFound(StorageError, NotFound):
    """The layer, image or container has no data under this key."""


class NotMounted(StorageError, Conflict):
    """The layer, image or container is not mounted."""


class DuplicateName(StorageError, Conflict):
    """The name belongs to another layer or container."""


class DuplicateId(StorageError, Conflict):
    """The ID exists already, with other content."""


class LayerInUse(StorageError, Conflict):
    """An image, a container, another layer or a mount still needs the layer."""


class ImageInUse(StorageError, Conflict):
    """A container was made from the image."""


class ContainerInUse(StorageError, Conflict):
    """The container is still mounted."""


class ReadOnlyStore(StorageError, Refused):
    """The thing lives in an additional image store, which is only read."""


class InvalidName(StorageError, InvalidInput):
    """An ID, name or key has a form that the store cannot hold."""


class StoreCorrupt(StorageError, Corrupt):
    """A file of the store is not what its format says; the message names the file."""


class DriverFailed(StorageError, StorageFailure):
    """The kernel or the file system refused what the storage driver needs."""


class StoreUnusable(StorageError, StorageFailure):
    """The store cannot be opened or written: permissions, disk, a read-only file system."""
