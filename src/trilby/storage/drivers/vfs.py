"""The vfs driver: each layer is a whole tree, its parent's copied. Slow, and works everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trilby.storage.drivers.base import DriverOptions, MountRequest, ReadBlob
from trilby.storage.errors import DriverFailed, LayerNotFound
from trilby.storage.records import IDMap
from trilby.storage.tempdirs import TempDir, TempRoot
from trilby.system.files import fsync_directory, sync_fs
from trilby.system.locks import RecordLock

if TYPE_CHECKING:
    from trilby.storage.unpack import Unpacked

_ROOT_MODE = 0o555
_BLOCK = 1 << 20


class VfsDriver:
    """``<graphroot>/vfs/dir``; see drivers.base.Driver for what the methods promise."""

    name = "vfs"

    def __init__(self, graphroot: str, runroot: str, options: DriverOptions) -> None:
        self.home = os.path.join(graphroot, "vfs")
        self.options = options
        self.temp = TempRoot(os.path.join(self.home, "tempdirs"))
        self._homes = [self.home, *(os.path.join(one, "vfs") for one in options.image_stores)]

    # -- making and removing -----------------------------------------------------------------

    def unpack_staged(
        self,
        place: str,
        read: ReadBlob,
        *,
        compression: str | None,
        tar_split: str,
        size_hint: int | None = None,
    ) -> Unpacked:
        """Keep the uncompressed archive: without the parent's tree there is nothing to change."""
        from trilby.storage.decompress import open_stream
        from trilby.storage.unpack import Unpacked

        stream = open_stream(read, compression)
        with open(os.path.join(place, "layer.tar"), "xb", buffering=0) as spool:
            while block := stream.read(_BLOCK):
                spool.write(block)
        return Unpacked(
            diff_id=stream.diff_id(),
            size=stream.size,
            compressed_digest=stream.compressed_digest(),
            compressed_size=stream.compressed_size,
            compression=stream.compression,
            files=0,
            content_size=0,
            uids=(),
            gids=(),
        )

    def place_staged(self, place: str, layer_id: str, parent: str | None, tar_split: str) -> None:
        from trilby.storage.unpack import Owners, unpack

        tree = os.path.join(place, "tree")
        self._copy_parent(tree, parent)
        status = os.stat(tree)
        with open(os.path.join(place, "layer.tar"), "rb", buffering=0) as spool:
            unpack(
                spool.read,
                tree,
                whiteouts="remove",
                tar_split=tar_split,
                compression="none",
                owners=Owners(ignore_chown_errors=self.options.ignore_chown_errors),
            )
        os.chown(tree, status.st_uid, status.st_gid)
        os.chmod(tree, status.st_mode & 0o7777)
        self._move_in(tree, layer_id, durable=self.options.sync != "none")

    def create(
        self,
        layer_id: str,
        parent: str | None,
        *,
        durable: bool = True,
        uid_map: Sequence[IDMap] = (),
        gid_map: Sequence[IDMap] = (),
    ) -> None:
        if uid_map or gid_map:
            raise DriverFailed(
                f"creating layer {layer_id[:12]}: vfs has no mapped layers",
                hint="use the overlay driver for user namespaces",
            )
        with self.temp.directory() as place:
            tree = os.path.join(place.path, "tree")
            self._copy_parent(tree, parent)
            self._move_in(tree, layer_id, durable=durable)

    def _copy_parent(self, tree: str, parent: str | None) -> None:
        os.mkdir(tree, 0o700)
        if parent is None:
            os.chmod(tree, _ROOT_MODE)
            return
        from trilby.storage.tardiff import pack_directory
        from trilby.storage.unpack import unpack

        source = self._tree(parent)
        blocks = pack_directory(source)
        unpack(lambda _: next(blocks, b""), tree, whiteouts="remove", compression="none")
        status = os.stat(source)
        os.chown(tree, status.st_uid, status.st_gid)
        os.chmod(tree, status.st_mode & 0o7777)

    def _move_in(self, tree: str, layer_id: str, *, durable: bool) -> None:
        folder = os.path.join(self.home, "dir")
        os.makedirs(folder, 0o700, exist_ok=True)
        target = os.path.join(folder, layer_id)
        if os.path.lexists(target):
            # No record knew it: what a killed process left.
            with self.temp.directory() as away:
                self.discard(layer_id, away)
        if durable:
            fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_fs(fd)
            finally:
                os.close(fd)
        os.rename(tree, target)
        if durable:
            fsync_directory(folder)

    def discard(self, layer_id: str, into: TempDir) -> None:
        into.take(os.path.join(self.home, "dir", layer_id))

    # -- looking -----------------------------------------------------------------------------

    def _tree(self, layer_id: str) -> str:
        for home in self._homes:
            path = os.path.join(home, "dir", layer_id)
            if os.path.isdir(path):
                return path
        raise LayerNotFound(f"finding layer {layer_id[:12]} in {self.home}: no such directory")

    def exists(self, layer_id: str) -> bool:
        return os.path.isdir(os.path.join(self.home, "dir", layer_id))

    def layer_ids(self) -> list[str]:
        try:
            names = os.listdir(os.path.join(self.home, "dir"))
        except FileNotFoundError:
            return []
        return [name for name in names if len(name) == 64 and name.isalnum()]

    def roots(self, layer_id: str) -> list[str]:
        return [self._tree(layer_id)]

    def diff(self, layer_id: str, parent: str | None) -> Iterator[bytes]:
        from trilby.storage.tardiff import compare_trees

        return compare_trees(self._tree(layer_id), self._tree(parent) if parent else None)

    # -- mounting ----------------------------------------------------------------------------

    def mount(self, layer_id: str, request: MountRequest) -> str:
        """The tree itself: there is nothing to mount."""
        if request.options and set(request.options) - {"ro", "rw"}:
            raise DriverFailed(
                f"mounting layer {layer_id[:12]}: vfs takes no mount options"
                f" ({', '.join(request.options)})"
            )
        return self._tree(layer_id)

    def mounted(self, path: str) -> bool:
        return os.path.isdir(path)

    def unmount(self, layer_id: str) -> None:
        """Nothing is mounted."""

    def prepare_mounts(self) -> None:
        """Nothing will be mounted."""

    def release_mounts(self, lock: RecordLock) -> None:
        """Nothing was mounted."""
