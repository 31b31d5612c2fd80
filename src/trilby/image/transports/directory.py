"""dir:PATH — an image as plain files in a directory, for looking into and for tests.

Files: ``version``, ``manifest.json``, ``<hex>.manifest.json`` for instances of an index, blobs by
the hexadecimal part of their digest, ``signature-N`` and ``<hex>.signature-N``.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from trilby.image.blobfiles import (
    check_document,
    open_blob_file,
    read_document,
    write_blob_file,
    write_failed,
)
from trilby.image.copy_errors import CorruptArchive, DestinationOccupied
from trilby.image.errors import ImageNotFound, InvalidReference, ManifestUnknown
from trilby.image.transport import MANIFEST_LIMIT, BlobRole, Capabilities
from trilby.oci.digest import Digest
from trilby.system.files import remove_tree

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.reference import Reference
    from trilby.image.streams import FileStream
    from trilby.image.transport import BlobStream
    from trilby.oci.descriptor import Descriptor

VERSION_PREFIX = b"Directory Transport Version: 1."
SIGNATURE_LIMIT = 4 * 1024 * 1024

_OURS = re.compile(
    r"version|manifest\.json|[0-9a-f]{64,128}|"
    r"([0-9a-f]{64,128}\.)?(manifest\.json|signature-[0-9]+)"
)


async def open_source(rest: str, context: ImageContext) -> DirectorySource:
    """Raises ImageNotFound, InvalidReference."""
    return DirectorySource(_checked_path(rest))


async def open_destination(rest: str, context: ImageContext) -> DirectoryDestination:
    """Raises DestinationOccupied if the directory holds other things."""
    return DirectoryDestination(_checked_path(rest))


class DirectorySource:
    """Reads what any tool's ``dir:`` transport wrote."""

    transport = "dir"

    def __init__(self, path: str) -> None:
        self.path = path
        self.reference = f"dir:{path}"
        self.policy_scope = os.path.realpath(path)
        self.docker_reference: Reference | None = None
        if not os.path.isdir(path):
            raise ImageNotFound(f"opening {self.reference}: there is no such directory")

    async def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        name = f"{instance.encoded}.manifest.json" if instance else "manifest.json"
        what = f"{name} of {self.reference}"
        try:
            raw = read_document(os.path.join(self.path, name), MANIFEST_LIMIT, what)
        except OSError as error:
            raise ManifestUnknown(
                f"reading {what}: {error.strerror}", hint="is it a directory that dir: wrote?"
            ) from error
        if instance is not None:
            check_document(raw, instance, what)
        return raw, ""

    async def get_blob(self, descriptor: Descriptor) -> FileStream:
        path = os.path.join(self.path, descriptor.digest.encoded)
        return open_blob_file(path, descriptor, self.reference)

    async def signatures(self, instance: Digest | None = None) -> list[bytes]:
        prefix = f"{instance.encoded}.signature-" if instance else "signature-"
        found: list[bytes] = []
        while True:
            path = os.path.join(self.path, f"{prefix}{len(found) + 1}")
            try:
                found.append(read_document(path, SIGNATURE_LIMIT, path))
            except FileNotFoundError:
                return found

    async def close(self) -> None:
        return None


class DirectoryDestination:
    """Writes beside the directory and moves everything in at the commit."""

    transport = "dir"
    capabilities = Capabilities(signatures=True)

    def __init__(self, path: str) -> None:
        self.path = path
        self.reference = f"dir:{path}"
        self.docker_reference: Reference | None = None
        self._other_digests = False
        _refuse_foreign(path, self.reference)
        parent, name = os.path.split(os.path.abspath(path))
        self._staging = os.path.join(parent, f".{name}.{os.urandom(6).hex()}.tmp")
        try:
            os.mkdir(self._staging, 0o755)
        except OSError as error:
            raise write_failed(self.reference, error) from error

    async def has_blob(self, descriptor: Descriptor, role: BlobRole) -> Descriptor | None:
        return None

    async def put_blob(
        self, descriptor: Descriptor, stream: BlobStream, role: BlobRole
    ) -> Descriptor:
        from msgspec.structs import replace

        digest, size, path = await write_blob_file(
            self._staging, stream, descriptor, self.reference, known=role.known
        )
        self._note(digest)
        os.rename(path, os.path.join(self._staging, digest.encoded))
        return replace(descriptor, digest=digest, size=size)

    async def put_manifest(self, raw: bytes, media_type: str, instance: Digest | None) -> None:
        name = f"{instance.encoded}.manifest.json" if instance else "manifest.json"
        self._write(name, raw)
        if instance:
            self._note(instance)

    async def put_signatures(self, signatures: list[bytes], instance: Digest | None) -> None:
        prefix = f"{instance.encoded}.signature-" if instance else "signature-"
        for number, signature in enumerate(signatures, 1):
            self._write(f"{prefix}{number}", signature)

    async def commit(self) -> None:
        minor = b"2" if self._other_digests else b"1"
        self._write("version", VERSION_PREFIX + minor + b"\n")
        try:
            if os.path.isdir(self.path):
                _refuse_foreign(self.path, self.reference)
                for name in os.listdir(self.path):
                    os.unlink(os.path.join(self.path, name))
                for name in os.listdir(self._staging):
                    os.rename(os.path.join(self._staging, name), os.path.join(self.path, name))
                os.rmdir(self._staging)
            else:
                os.rename(self._staging, self.path)
        except OSError as error:
            raise write_failed(self.reference, error) from error

    async def close(self) -> None:
        remove_tree(self._staging)

    def _note(self, digest: Digest) -> None:
        self._other_digests |= digest.algorithm != "sha256"

    def _write(self, name: str, data: bytes) -> None:
        try:
            with open(os.path.join(self._staging, name), "wb") as file:
                file.write(data)
        except OSError as error:
            raise write_failed(self.reference, error) from error


def _checked_path(rest: str) -> str:
    if not rest or "\0" in rest:
        raise InvalidReference(f"invalid name dir:{rest!r}: a path is missing")
    return rest


def _refuse_foreign(path: str, reference: str) -> None:
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DestinationOccupied(f"writing {reference}: {error.strerror}") from error
    if not names:
        return
    hint = "choose an empty or new directory"
    if "version" not in names:
        raise DestinationOccupied(f"writing {reference}: the directory is not empty", hint=hint)
    version = read_document(os.path.join(path, "version"), 4096, f"version of {reference}")
    if not version.startswith(VERSION_PREFIX):
        raise CorruptArchive(f"writing {reference}: unknown version {version[:60]!r}", hint=hint)
    for name in names:
        if not _OURS.fullmatch(name):
            raise DestinationOccupied(
                f"writing {reference}: {name!r} in it is no part of an image", hint=hint
            )
