"""What can be wrong with a layer: it is damaged, or tries to leave its root, or cannot be written.

The hot modules import this one only when they raise: a worker process starts without it.
"""

from __future__ import annotations

from trilby.errors import Corrupt, StorageFailure
from trilby.storage.errors import StorageError


class CorruptLayer(StorageError, Corrupt):
    """The stream is not a well-formed archive, or breaks off, or its checksum is wrong."""


class UnsafeLayer(StorageError, Corrupt):
    """An entry names a place outside the layer's root, or is more than we are ready to hold."""


class LayerWriteError(StorageError, StorageFailure):
    """The disk refused an entry: full, read-only, not permitted. ``errno`` says which."""

    def __init__(self, message: str, *, errno: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = errno
