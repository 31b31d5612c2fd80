"""How often each layer is mounted, and where: ``mountpoints.json`` in the run root.

Counts are shared with podman and CRI-O: a layer with a count above one is never unmounted, and
a mounted one is never mounted again. The file is lost with the machine's memory, as mounts are.
"""

from __future__ import annotations

import os

import msgspec

from trilby.storage.errors import StoreCorrupt, StoreUnusable
from trilby.storage.records import MountPoint
from trilby.system.files import atomic_write
from trilby.system.locks import Hold, RecordLock

_DECODER = msgspec.json.Decoder(list[MountPoint])


class MountTable:
    """The table of one layer store. Nests inside the layer store's lock, held in any mode."""

    def __init__(self, run_directory: str) -> None:
        self._path = os.path.join(run_directory, "mountpoints.json")
        self._lock = RecordLock(os.path.join(run_directory, "mountpoints.lock"))

    def alone(self) -> Hold:
        """Hold the table for a change."""
        return self._lock.exclusive()

    def read(self) -> dict[str, MountPoint]:
        """All mounted layers by ID."""
        if not os.path.exists(self._path):
            return {}
        with self._lock.shared():
            return self.entries()

    def entries(self) -> dict[str, MountPoint]:
        """As ``read``, with the lock held already."""
        try:
            with open(self._path, "rb", buffering=0) as file:
                data = file.readall() or b""
            found = _DECODER.decode(data) if data else []
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreUnusable(f"reading {self._path}: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise StoreCorrupt(f"reading {self._path}: {error}") from error
        return {entry.id: entry for entry in found if entry.count > 0 and entry.path}

    def save(self, entries: dict[str, MountPoint]) -> None:
        """Replace the table; only within ``alone``."""
        kept = [entry for entry in entries.values() if entry.count > 0 and entry.path]
        self._lock.write_token()
        try:
            atomic_write(self._path, msgspec.json.encode(kept), 0o600, fsync=False)
        except OSError as error:
            raise StoreUnusable(f"writing {self._path}: {error.strerror}") from error
