"""One JSON array of records on disk: read whole, replaced whole, unknown fields kept.

containers/storage itself drops fields that it does not know; we must not, since the store is
shared with whatever version the peers have.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from trilby.storage.errors import StoreCorrupt, StoreUnusable
from trilby.system.files import atomic_write


class Record(Protocol):
    """What all records have."""

    @property
    def id(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...


R = TypeVar("R", bound=Record)

# Modification time, inode, size: enough to see an edit by hand or a replaced file.
Stamp = tuple[int, int, int] | None


class RecordFile(Generic[R]):
    """``layers.json`` and its like. The caller holds the lock that protects the file.

    ``durable`` false is for the ``volatile-`` files, which need not outlive the machine.
    """

    def __init__(
        self, path: str, decoder: msgspec.json.Decoder[list[R]], *, durable: bool = True
    ) -> None:
        self.path = path
        self.durable = durable
        self._decoder = decoder
        self._data = b""
        # Fields that our classes lack, by record ID; None until a save asks for them.
        self._unknown: dict[str, list[tuple[str, msgspec.Raw]]] | None = None

    def stamp(self) -> Stamp:
        """What tells this content of the file from another one; None if it does not exist."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def load(self) -> list[R]:
        """All records in the order of the file. Raises StoreCorrupt, StoreUnusable."""
        self._unknown = None
        try:
            with open(self.path, "rb", buffering=0) as file:
                self._data = file.readall() or b""
        except FileNotFoundError:
            self._data = b""
        except OSError as error:
            raise StoreUnusable(f"reading {self.path}: {error.strerror}") from error
        if not self._data.strip():
            return []
        try:
            return self._decoder.decode(self._data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreCorrupt(
                f"reading {self.path}: {error}",
                hint="restore it from a copy; every tool that uses this store needs it",
            ) from error

    def save(self, records: Sequence[R]) -> None:
        """Replace the file. Raises StoreUnusable."""
        data = self._encode(records)
        try:
            atomic_write(self.path, data, 0o600, fsync=self.durable)
        except OSError as error:
            raise StoreUnusable(f"writing {self.path}: {error.strerror}") from error

    def _encode(self, records: Sequence[R]) -> bytes:
        if self._unknown is None:
            self._unknown = self._unknown_fields(records)
        unknown = self._unknown
        if not unknown:
            return msgspec.json.encode(records)
        parts = []
        for record in records:
            text = msgspec.json.encode(record)
            for name, value in unknown.get(record.id, ()):
                text = text[:-1] + b"," + msgspec.json.encode(name) + b":" + bytes(value) + b"}"
            parts.append(text)
        return b"[" + b",".join(parts) + b"]"

    def _unknown_fields(self, records: Sequence[R]) -> dict[str, list[tuple[str, msgspec.Raw]]]:
        """Fields of the file as loaded that our classes lack, by record ID."""
        if not records or not self._data.strip():
            return {}
        known = frozenset(type(records[0]).__struct_encode_fields__)  # type: ignore[attr-defined]  # every record is a Struct
        found: dict[str, list[tuple[str, msgspec.Raw]]] = {}
        for raw in msgspec.json.decode(self._data, type=list[dict[str, msgspec.Raw]]):
            if extra := raw.keys() - known:
                identity = msgspec.json.decode(raw["id"], type=str)
                found[identity] = [(name, raw[name]) for name in raw if name in extra]
        return found
