"""Write archives as ``docker save`` does, of one image or several."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import msgspec

from trilby.image.archive import ArchiveWriter
from trilby.image.copy_errors import DestinationOccupied
from trilby.image.reference import Reference
from trilby.image.transport import BlobRole, Capabilities
from trilby.oci import media
from trilby.oci.codec import encode
from trilby.oci.manifest import parse_image_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trilby.image.transport import BlobStream
    from trilby.oci.descriptor import Descriptor
    from trilby.oci.digest import Digest

MANIFEST_FILE = "manifest.json"


class DockerArchiveWriter:
    """One archive of one or more images; blobs that several of them share are in it once."""

    def __init__(self, path: str) -> None:
        """Raises DestinationOccupied, WriteFailed."""
        self.path = path
        what = f"docker-archive:{path}"
        try:
            occupied = not os.path.isfile(path) or os.path.getsize(path) > 0
        except OSError:
            occupied = False
        if os.path.exists(path) and occupied:
            raise DestinationOccupied(
                f"writing {what}: it exists, and an archive cannot be added to",
                hint="remove it first, or choose another name",
            )
        self.writer = ArchiveWriter(path, what)
        self.turn = asyncio.Lock()
        self.blobs: dict[Digest, int] = {}
        self.items: list[dict[str, object]] = []

    def destination(self, names: Sequence[str]) -> DockerArchiveDestination:
        """A destination for one image with these names; the archive ends with :meth:`commit`."""
        return DockerArchiveDestination(self, names, last=False)

    async def commit(self) -> None:
        """End the archive and put it in its place. Raises WriteFailed."""
        repositories: dict[str, dict[str, str]] = {}
        self.writer.add(MANIFEST_FILE, encode(self.items, sort_keys=False))
        self.writer.add("repositories", encode(repositories))
        await asyncio.to_thread(self.writer.commit)

    def close(self) -> None:
        self.writer.close()


class DockerArchiveDestination:
    """One image on its way into an archive."""

    transport = "docker-archive"
    capabilities = Capabilities(
        manifest_types=(media.DOCKER_MANIFEST,), multi_platform=False, layers="decompress"
    )

    def __init__(self, archive: DockerArchiveWriter, names: Sequence[str], *, last: bool) -> None:
        self._archive = archive
        self._last = last
        self._names = list(names)
        self.reference = f"docker-archive:{archive.path}"
        self.docker_reference = Reference.parse(names[0]) if names else None
        self._item: dict[str, object] | None = None

    async def has_blob(self, descriptor: Descriptor, role: BlobRole) -> Descriptor | None:
        if role.known and descriptor.digest in self._archive.blobs:
            return descriptor
        # Layers are kept uncompressed: under their diff id.
        size = self._archive.blobs.get(role.diff_id) if role.diff_id else None
        if size is None or role.diff_id is None:
            return None
        kind = media.DOCKER_LAYER
        return msgspec.structs.replace(descriptor, media_type=kind, digest=role.diff_id, size=size)

    async def put_blob(
        self, descriptor: Descriptor, stream: BlobStream, role: BlobRole
    ) -> Descriptor:
        archive = self._archive
        async with archive.turn:
            digest, size, mark = await archive.writer.add_stream(stream)
            if digest not in archive.blobs:
                archive.writer.name_last(_member(digest, role.kind), size, mark)
                archive.blobs[digest] = size
        return msgspec.structs.replace(descriptor, digest=digest, size=size)

    async def put_manifest(self, raw: bytes, media_type: str, instance: Digest | None) -> None:
        manifest = parse_image_manifest(raw, media_type)
        self._item = {
            "Config": _member(manifest.config.digest, "config"),
            "RepoTags": self._names,
            "Layers": [_member(layer.digest, "layer") for layer in manifest.layers],
        }

    async def put_signatures(self, signatures: list[bytes], instance: Digest | None) -> None:
        raise AssertionError("archives hold no signatures, as the capabilities say")

    async def commit(self) -> None:
        assert self._item is not None, "put_manifest comes before commit"
        self._archive.items.append(self._item)
        if self._last:
            await self._archive.commit()

    async def close(self) -> None:
        if self._last:
            self._archive.close()


def _member(digest: Digest, kind: str) -> str:
    return f"{digest.encoded}.{'json' if kind == 'config' else 'tar'}"
