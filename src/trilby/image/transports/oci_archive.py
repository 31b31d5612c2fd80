"""oci-archive:PATH[:NAME] — a tar archive of an OCI image layout; writing replaces the archive."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trilby.image.archive import ArchiveReader, ArchiveWriter
from trilby.image.blobfiles import check_document
from trilby.image.copy_errors import DestinationOccupied
from trilby.image.errors import BlobUnknown, InvalidReference, ManifestUnknown
from trilby.image.transport import MANIFEST_LIMIT, BlobRole
from trilby.image.transports.oci_layout import (
    CAPABILITIES,
    LAYOUT_FILE,
    LAYOUT_LIMIT,
    LayoutName,
    check_layout,
    choose_image,
    parse_name,
    replaced,
)
from trilby.oci import media
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.manifest import make_index, parse_index

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.reference import Reference
    from trilby.image.streams import FileStream
    from trilby.image.transport import BlobStream


async def open_source(rest: str, context: ImageContext) -> OciArchiveSource:
    """Raises InvalidReference, ImageNotFound, CorruptArchive."""
    name = parse_name(rest, "oci-archive")
    return await asyncio.to_thread(OciArchiveSource, name, context.temp_dir)


async def open_destination(rest: str, context: ImageContext) -> OciArchiveDestination:
    """Raises InvalidReference, DestinationOccupied, WriteFailed."""
    name = parse_name(rest, "oci-archive")
    if name.number >= 0:
        raise InvalidReference(f"invalid name oci-archive:{rest}: @NUMBER is for reading only")
    return OciArchiveDestination(name)


def blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


class OciArchiveSource:
    """Reads one image of an archive, in place unless the archive is compressed."""

    transport = "oci-archive"

    def __init__(self, name: LayoutName, temp_dir: str | None) -> None:
        self.reference = f"oci-archive:{name}"
        self.policy_scope = str(replace(name, path=os.path.realpath(name.path)))
        self.docker_reference: Reference | None = None
        self._archive = ArchiveReader(name.path, self.reference, temp_dir)
        try:
            check_layout(self._archive.read("oci-layout", LAYOUT_LIMIT), self.reference)
            raw = self._archive.read("index.json", MANIFEST_LIMIT)
            index = parse_index(raw, media.OCI_INDEX, f"index.json of {self.reference}")
            self.top = choose_image(index, name, self.reference)
        except BaseException:
            self._archive.close()
            raise

    async def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        digest = instance or self.top.digest
        what = f"manifest {digest} of {self.reference}"
        if not self._archive.has(blob_name(digest)):
            raise ManifestUnknown(f"reading {what}: not in the archive")
        raw = self._archive.read(blob_name(digest), MANIFEST_LIMIT)
        check_document(raw, digest, what)
        return raw, "" if instance else self.top.media_type

    async def get_blob(self, descriptor: Descriptor) -> FileStream:
        name = blob_name(descriptor.digest)
        if not self._archive.has(name):
            raise BlobUnknown(
                f"reading blob {descriptor.digest} of {self.reference}: not in the archive"
            )
        return self._archive.stream(name)

    async def signatures(self, instance: Digest | None = None) -> list[bytes]:
        return []

    async def close(self) -> None:
        self._archive.close()


class OciArchiveDestination:
    """Writes a new archive, blob after blob, and puts it in its place at the commit."""

    transport = "oci-archive"
    capabilities = CAPABILITIES

    def __init__(self, name: LayoutName) -> None:
        self.reference = f"oci-archive:{name}"
        self.docker_reference: Reference | None = None
        self._name = name
        if os.path.isdir(name.path):
            raise DestinationOccupied(f"writing {self.reference}: it is a directory")
        self._writer = ArchiveWriter(name.path, self.reference)
        self._turn = asyncio.Lock()
        self._blobs: set[Digest] = set()
        self._top: Descriptor | None = None

    async def has_blob(self, descriptor: Descriptor, role: BlobRole) -> Descriptor | None:
        return descriptor if role.known and descriptor.digest in self._blobs else None

    async def put_blob(
        self, descriptor: Descriptor, stream: BlobStream, role: BlobRole
    ) -> Descriptor:
        async with self._turn:
            digest, size, mark = await self._writer.add_stream(stream)
            digest = descriptor.digest if role.known else digest
            if digest not in self._blobs:
                self._writer.name_last(blob_name(digest), size, mark)
                self._blobs.add(digest)
        return replace(descriptor, digest=digest, size=size)

    async def put_manifest(self, raw: bytes, media_type: str, instance: Digest | None) -> None:
        digest = Digest.of(raw)
        async with self._turn:
            if digest not in self._blobs:
                self._writer.add(blob_name(digest), raw)
                self._blobs.add(digest)
        if instance is None:
            self._top = Descriptor(media_type=media_type, digest=digest, size=len(raw))

    async def put_signatures(self, signatures: list[bytes], instance: Digest | None) -> None:
        raise AssertionError("layouts hold no signatures, as the capabilities say")

    async def commit(self) -> None:
        assert self._top is not None, "put_manifest comes before commit"
        index = replaced(make_index([]), self._top, self._name.name)
        self._writer.add("oci-layout", LAYOUT_FILE)
        self._writer.add("index.json", index.raw)
        await asyncio.to_thread(self._writer.commit)

    async def close(self) -> None:
        self._writer.close()
