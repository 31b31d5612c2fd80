"""A layer on its way into the store: unpacked beside it, whatever its parent, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from trilby.storage.errors import StorageError, StoreUnusable
from trilby.storage.layers import LayerStore

# What layers.json calls compressions.
COMPRESSION_CODES = {"none": 0, "": 0, "bzip2": 1, "gzip": 2, "xz": 3, "zstd": 4}


class ReadsBytes(Protocol):
    """Anything with ``read(n) -> bytes``, b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


class Applied(Struct, frozen=True):
    """What a stream turned out to be. Sizes are bytes, digests ``sha256:<hex>``.

    ``compression`` is "none", "gzip", "zstd", "bzip2" or "xz"; ``uids`` and ``gids`` are sorted
    and, like ``files``, empty where the driver defers the unpacking to the commit (vfs).
    """

    diff_id: str
    diff_size: int
    compressed_digest: str
    compressed_size: int
    compression: str = "none"
    files: int = 0
    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()


class _Guarded:
    """A source that remembers whether it failed: its errors are not the disk's."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.failed = False

    def read(self, size: int, /) -> bytes:
        try:
            return self._read(size)
        except BaseException:
            self.failed = True
            raise


class StagedLayer:
    """A staging place of one layer; a context manager that removes what was not committed.

    Any thread may use it, one at a time; several staged layers may be applied at once. Made by
    ``Store.stage_layer``.
    """

    def __init__(self, layers: LayerStore) -> None:
        self._layers = layers
        self._content = layers.driver.temp.directory()
        try:
            self._records = layers.temp.directory()
        except BaseException:
            self._content.close()
            raise
        self._used = False
        self.applied: Applied | None = None

    @property
    def path(self) -> str:
        """The staging directory."""
        return self._content.path

    @property
    def tar_split(self) -> str:
        """Where the tar-split journal is until the commit."""
        return os.path.join(self._records.path, "tar-split.gz")

    def apply(
        self,
        source: ReadsBytes | Callable[[int], bytes],
        *,
        compression: str | None = None,
        size_hint: int | None = None,
    ) -> Applied:
        """Read the layer's blob to its end and unpack it.

        ``source`` gives up to n bytes a call and b"" at the end. ``compression`` None is "by its
        first bytes". ``size_hint`` is the blob's size in bytes, if it is known: large ones are
        unpacked by processes of their own. Raises UnsafeLayer, CorruptLayer, LayerWriteError and
        StoreUnusable (the disk), and whatever ``source`` raises; the staged layer is then only
        good for ``close``.
        """
        if self._used:
            raise StorageError("unpacking a layer: something was unpacked here already")
        self._used = True
        guarded = _Guarded(source if callable(source) else source.read)
        try:
            unpacked = self._layers.driver.unpack_staged(
                self.path,
                guarded.read,
                compression=compression,
                tar_split=self.tar_split,
                size_hint=size_hint,
            )
            self._flush_other_disk()
        except OSError as error:
            if guarded.failed:
                # The source's own trouble, a lost connection for one.
                raise
            raise StoreUnusable(
                f"unpacking a layer below {self.path}: {error.strerror or error}",
                hint="df shows whether the disk is full",
            ) from error
        self.applied = Applied(
            diff_id=unpacked.diff_id,
            diff_size=unpacked.size,
            compressed_digest=unpacked.compressed_digest,
            compressed_size=unpacked.compressed_size,
            compression=unpacked.compression,
            files=unpacked.files,
            uids=unpacked.uids,
            gids=unpacked.gids,
        )
        return self.applied

    def _flush_other_disk(self) -> None:
        """The driver flushes its own file system; the journal may be on another one."""
        if not os.path.exists(self.tar_split):
            return
        if os.stat(self.tar_split).st_dev != os.stat(self.path).st_dev:
            fd = os.open(self.tar_split, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def place(self, layer_id: str, parent: str | None) -> None:
        """Rename the content and the journal into place; the store calls this with its lock."""
        self._layers.driver.place_staged(self.path, layer_id, parent, self.tar_split)
        if os.path.exists(self.tar_split):
            os.rename(self.tar_split, self._layers.tar_split(layer_id))

    def close(self) -> None:
        """Remove what was staged, unless it was committed."""
        self._content.close()
        self._records.close()

    def __enter__(self) -> StagedLayer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
