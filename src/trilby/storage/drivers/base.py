"""What the store asks of a driver: places for layers, root file systems, differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from trilby.storage.records import IDMap

if TYPE_CHECKING:
    from trilby.storage.tempdirs import TempDir, TempRoot
    from trilby.storage.unpack import Unpacked
    from trilby.system.locks import RecordLock


class MountRequest(Struct, frozen=True):
    """How a layer shall be mounted. ``options`` are overlay's and the generic ones of mount(8).

    With maps the lower layers' owners appear shifted by them; ``userns`` is a descriptor of a
    user namespace that has these maps, if the caller has one.
    """

    read_only: bool = False
    options: tuple[str, ...] = ()
    label: str = ""
    volatile: bool = False
    uid_map: tuple[IDMap, ...] = ()
    gid_map: tuple[IDMap, ...] = ()
    userns: int | None = None


class ReadBlob(Protocol):
    """Gives up to n bytes of a blob, b"" at its end."""

    def __call__(self, size: int, /) -> bytes: ...


class Driver(Protocol):
    """One way of keeping layers. Methods are called under the layer store's lock unless they say.

    Layers are named by ID. What a method leaves half done is removed by ``discard`` later.
    """

    name: str
    home: str
    temp: TempRoot

    def unpack_staged(
        self,
        place: str,
        read: ReadBlob,
        *,
        compression: str | None,
        tar_split: str,
        size_hint: int | None = None,
    ) -> Unpacked:
        """Unpack a blob below the staging directory ``place``. Called without any lock.

        ``size_hint`` is the blob's size in bytes, if it is known.
        """
        ...

    def place_staged(self, place: str, layer_id: str, parent: str | None, tar_split: str) -> None:
        """Rename what was unpacked at ``place`` to the layer's place; durable when it returns.

        A driver that could not unpack without the parent does so now, and writes ``tar_split``.
        """
        ...

    def create(
        self,
        layer_id: str,
        parent: str | None,
        *,
        durable: bool = True,
        uid_map: Sequence[IDMap] = (),
        gid_map: Sequence[IDMap] = (),
    ) -> None:
        """An empty layer on top of ``parent``; its root directory belongs to the shifted owner."""
        ...

    def discard(self, layer_id: str, into: TempDir) -> None:
        """Move all of the layer away; what is missing is fine."""
        ...

    def exists(self, layer_id: str) -> bool:
        """Whether there is anything of the layer."""
        ...

    def layer_ids(self) -> list[str]:
        """The IDs of all layers that have something on disk."""
        ...

    def roots(self, layer_id: str) -> list[str]:
        """The directories to look for the layer's files in, its own first."""
        ...

    def diff(self, layer_id: str, parent: str | None) -> Iterator[bytes]:
        """The archive of what the layer changes, made from the disk. Raises DriverFailed."""
        ...

    def mount(self, layer_id: str, request: MountRequest) -> str:
        """Mount the layer's root file system; its directory. Raises DriverFailed."""
        ...

    def mounted(self, path: str) -> bool:
        """Whether a directory that ``mount`` gave is still mounted."""
        ...

    def unmount(self, layer_id: str) -> None:
        """Undo ``mount``; not being mounted is fine."""
        ...

    def prepare_mounts(self) -> None:
        """Make the driver's home ready for mounts. Called under ``storage.lock``."""
        ...

    def release_mounts(self, lock: RecordLock) -> None:
        """Undo ``prepare_mounts`` if this object did it and no mount needs it."""
        ...


class DriverOptions(Struct, frozen=True):
    """The options of a driver, checked, with their defaults."""

    mount_options: tuple[str, ...] = ()
    skip_mount_home: bool = False
    ignore_chown_errors: bool = False
    sync: str = "filesystem"
    image_stores: tuple[str, ...] = ()


def split_mount_options(text: str | Sequence[str]) -> tuple[str, ...]:
    """``nodev,metacopy=on`` as a tuple, without blanks and empty parts."""
    parts = text.split(",") if isinstance(text, str) else text
    return tuple(part.strip() for part in parts if part.strip())
