"""docker-archive:PATH[:NAME|:@N] — what ``docker save`` writes and ``docker load`` reads.

``manifest.json`` is an array of ``{Config, RepoTags, Layers}`` that name members of the archive.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from trilby.image.archive import ArchiveReader
from trilby.image.compression import transformed
from trilby.image.copy_errors import CorruptArchive
from trilby.image.errors import BlobUnknown, ImageNotFound, InvalidReference
from trilby.image.reference import Reference
from trilby.image.streams import BytesStream
from trilby.image.transport import CONFIG_LIMIT
from trilby.image.transports.docker_archive_write import (
    MANIFEST_FILE,
    DockerArchiveDestination,
    DockerArchiveWriter,
)
from trilby.oci import media
from trilby.oci.codec import decode
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.image import parse_image_config
from trilby.oci.manifest import make_manifest
from trilby.storage.decompress import open_stream, sniff

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.streams import FileStream
    from trilby.image.transport import BlobStream

MANIFEST_LIMIT = 1 << 20


class ArchiveItem(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of an archive."""

    config: str
    repo_tags: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


class ArchiveName(msgspec.Struct, frozen=True):
    """``PATH[:NAME|:@N]``."""

    path: str
    reference: Reference | None = None
    number: int = -1

    def __str__(self) -> str:
        if self.number >= 0:
            return f"{self.path}:@{self.number}"
        return f"{self.path}:{self.reference}" if self.reference else self.path


def parse_name(rest: str) -> ArchiveName:
    """The path ends at the first colon. Raises InvalidReference."""
    path, colon, name = rest.partition(":")
    shown = f"docker-archive:{rest}"
    if not path or (colon and not name):
        raise InvalidReference(f"invalid name {shown}: a path or a name is missing")
    if name.startswith("@"):
        if not name[1:].isdecimal():
            raise InvalidReference(f"invalid name {shown}: {name!r} is not @NUMBER")
        return ArchiveName(path, number=int(name[1:]))
    if not name:
        return ArchiveName(path)
    reference = Reference.parse(name).with_default_tag()
    if reference.digest is not None:
        raise InvalidReference(f"invalid name {shown}: an archive has tags, not digests")
    return ArchiveName(path, reference)


async def open_source(rest: str, context: ImageContext) -> DockerArchiveSource:
    """Raises InvalidReference, ImageNotFound, CorruptArchive."""
    name = parse_name(rest)
    return await asyncio.to_thread(DockerArchiveSource, name, context.temp_dir)


async def open_destination(rest: str, context: ImageContext) -> DockerArchiveDestination:
    """Raises InvalidReference, DestinationOccupied, WriteFailed."""
    name = parse_name(rest)
    if name.number >= 0:
        raise InvalidReference(f"invalid name docker-archive:{rest}: @NUMBER is for reading only")
    names = [str(name.reference)] if name.reference else []
    return DockerArchiveDestination(DockerArchiveWriter(name.path), names, last=True)


def list_images(path: str, temp_dir: str | None = None) -> list[ArchiveItem]:
    """The images of an archive. Raises ImageNotFound, CorruptArchive."""
    archive = ArchiveReader(path, f"docker-archive:{path}", temp_dir)
    try:
        return _items(archive)
    finally:
        archive.close()


def _items(archive: ArchiveReader) -> list[ArchiveItem]:
    raw = archive.read(MANIFEST_FILE, MANIFEST_LIMIT)
    return decode(list[ArchiveItem], raw, f"{MANIFEST_FILE} of {archive.what}")


class DockerArchiveSource:
    """One image of an archive, as a Docker schema 2 image of uncompressed layers."""

    transport = "docker-archive"
    policy_scope = ""

    def __init__(self, name: ArchiveName, temp_dir: str | None) -> None:
        self.reference = f"docker-archive:{name}"
        self._archive = ArchiveReader(name.path, self.reference, temp_dir)
        try:
            item = _choose(_items(self._archive), name, self.reference)
            self.tags = item.repo_tags
            self.docker_reference = name.reference or _first_tag(item)
            self._config = self._archive.read(item.config, CONFIG_LIMIT)
            #: By diff id: the member, and whether it is compressed.
            self._members: dict[Digest, tuple[str, bool]] = {}
            self._manifest = self._make_manifest(item)
        except BaseException:
            self._archive.close()
            raise

    def _make_manifest(self, item: ArchiveItem) -> bytes:
        config = parse_image_config(self._config, f"config of {self.reference}")
        if len(config.diff_ids) != len(item.layers):
            raise CorruptArchive(
                f"opening {self.reference}: its config lists {len(config.diff_ids)} layers, "
                f"{MANIFEST_FILE} {len(item.layers)}"
            )
        layers: list[Descriptor] = []
        for diff_id, member in zip(config.diff_ids, item.layers, strict=True):
            size, packed = self._measure(member)
            self._members[diff_id] = member, packed
            layers.append(Descriptor(media_type=media.DOCKER_LAYER, digest=diff_id, size=size))
        described = Descriptor(
            media_type=media.DOCKER_CONFIG, digest=Digest.of(self._config), size=len(self._config)
        )
        return make_manifest(described, layers, media_type=media.DOCKER_MANIFEST).raw

    async def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        return self._manifest, media.DOCKER_MANIFEST

    def _measure(self, member: str) -> tuple[int, bool]:
        """A layer's uncompressed size, and whether the archive has it compressed.

        Newer versions of ``docker save`` write layers as they were pulled; the archive does not
        say how long they are, so that they must be unpacked once to know.
        """
        stream = self._archive.stream(member)
        if sniff(stream.read_at(0)[:512]) == "none":
            return stream.size, False
        unpacked = open_stream(BlobReader(stream).read)
        unpacked.drain()
        return unpacked.size, True

    async def get_blob(self, descriptor: Descriptor) -> BlobStream:
        if descriptor.digest in self._members:
            member, packed = self._members[descriptor.digest]
            stream = self._archive.stream(member)
            return transformed(stream, "", None) if packed else stream
        if descriptor.digest == Digest.of(self._config):
            return BytesStream(self._config)
        raise BlobUnknown(f"reading blob {descriptor.digest} of {self.reference}: not there")

    async def signatures(self, instance: Digest | None = None) -> list[bytes]:
        return []

    async def close(self) -> None:
        self._archive.close()


class BlobReader:
    """A stream of a file, read where blocking is fine."""

    def __init__(self, stream: FileStream) -> None:
        self._stream = stream
        self._done = 0

    def read(self, _size: int) -> bytes:
        """The next chunk; b"" at the end."""
        chunk = self._stream.read_at(self._done)
        self._done += len(chunk)
        return chunk


def _choose(items: list[ArchiveItem], name: ArchiveName, what: str) -> ArchiveItem:
    if name.number >= 0:
        if name.number < len(items):
            return items[name.number]
        raise ImageNotFound(f"opening {what}: it has {len(items)} images, counted from @0")
    tags = sorted(tag for item in items for tag in item.repo_tags)
    if name.reference is not None:
        for item in items:
            if any(_same(tag, name.reference) for tag in item.repo_tags):
                return item
        raise ImageNotFound(
            f"opening {what}: it has no image of that name",
            hint=f"it has {', '.join(tags)}" if tags else "its images have no names: use :@NUMBER",
        )
    if len(items) == 1:
        return items[0]
    raise ImageNotFound(
        f"opening {what}: it has {len(items)} images",
        hint=f"add :NAME or :@NUMBER to say which: {', '.join(tags)}",
    )


def _same(tag: str, reference: Reference) -> bool:
    try:
        return Reference.parse(tag).with_default_tag() == reference
    except InvalidReference:
        return False


def _first_tag(item: ArchiveItem) -> Reference | None:
    for tag in item.repo_tags:
        try:
            return Reference.parse(tag)
        except InvalidReference:
            continue
    return None
