"""Big data: files beside a record, each under a key (manifests, configurations, signatures)."""

from __future__ import annotations

import os

from trilby.storage.errors import BigDataNotFound, InvalidName, StoreUnusable
from trilby.system.files import atomic_write, remove_tree

_PLAIN = frozenset(".0123456789abcdefghijklmnopqrstuvwxyz")
# Base64 of a longer key has no room in a file name.
_LONGEST_KEY = 180


def file_name(key: str) -> str:
    """The file name of a key: itself if it is plain, else ``=`` and its base64."""
    if not key or len(key.encode()) > _LONGEST_KEY:
        raise InvalidName(f"naming big data {key[:40]!r}: a key has 1 to {_LONGEST_KEY} bytes")
    if _PLAIN.issuperset(key) and key not in (".", ".."):
        return key
    from base64 import b64encode

    name = "=" + b64encode(key.encode()).decode()
    if "/" in name:
        raise InvalidName(f"naming big data {key!r}: its base64 form has a slash")
    return name


class BigData:
    """The data directories of one kind of records: ``<directory>/<id>/<file name>``."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def read(self, identity: str, key: str) -> bytes:
        """The data; the file decides whether it exists. Raises BigDataNotFound."""
        path = os.path.join(self.directory, identity, file_name(key))
        try:
            with open(path, "rb", buffering=0) as file:
                return file.readall() or b""
        except FileNotFoundError:
            raise BigDataNotFound(f"reading {key!r} of {identity[:12]}: no such data") from None
        except OSError as error:
            raise StoreUnusable(f"reading {path}: {error.strerror}") from error

    def write(self, identity: str, key: str, data: bytes, *, durable: bool = True) -> None:
        """Store data, replacing what the key had."""
        folder = os.path.join(self.directory, identity)
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
            atomic_write(os.path.join(folder, file_name(key)), data, 0o600, fsync=durable)
        except OSError as error:
            raise StoreUnusable(f"writing {key!r} below {folder}: {error.strerror}") from error

    def delete(self, identity: str) -> None:
        """Remove the record's whole directory, if there is one."""
        remove_tree(os.path.join(self.directory, identity))


def digest_of(key: str, data: bytes) -> str:
    """The digest that a record keeps of its data: sha256 of the bytes.

    For keys that start with ``manifest`` the format means the manifest's own digest, which for
    all but the signed form of Docker's schema 1 (refused by the image room) is the same.
    """
    from hashlib import sha256

    return f"sha256:{sha256(data).hexdigest()}"
