"""oci:PATH[:NAME|:@N] — images in an OCI image layout (image-spec, image-layout.md)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

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
from trilby.oci import media
from trilby.oci.codec import decode
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.manifest import Index, make_index, parse_index
from trilby.system.files import atomic_write, remove_tree

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.reference import Reference
    from trilby.image.streams import FileStream
    from trilby.image.transport import BlobStream

REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_FILE = b'{"imageLayoutVersion": "1.0.0"}'
LAYOUT_LIMIT = 4096

CAPABILITIES = Capabilities(manifest_types=(media.OCI_MANIFEST, media.OCI_INDEX), layers="compress")


class _Layout(msgspec.Struct, frozen=True, rename="camel"):
    image_layout_version: str


class LayoutName(msgspec.Struct, frozen=True):
    """The parts of ``PATH[:NAME|:@N]``; ``number`` counts manifests of the index from 0."""

    path: str
    name: str = ""
    number: int = -1

    def __str__(self) -> str:
        suffix = f":@{self.number}" if self.number >= 0 else f":{self.name}" if self.name else ""
        return f"{self.path}{suffix}"


def parse_name(rest: str, transport: str = "oci") -> LayoutName:
    """The path ends at the first colon. Raises InvalidReference."""
    path, colon, name = rest.partition(":")
    if not path:
        raise InvalidReference(f"invalid name {transport}:{rest}: a path is missing")
    if name.startswith("@"):
        if not name[1:].isdecimal():
            raise InvalidReference(f"invalid name {transport}:{rest}: {name!r} is not @NUMBER")
        return LayoutName(path, number=int(name[1:]))
    if colon and not name:
        raise InvalidReference(f"invalid name {transport}:{rest}: nothing after the colon")
    return LayoutName(path, name)


async def open_source(rest: str, context: ImageContext) -> LayoutSource:
    """Raises InvalidReference, ImageNotFound, CorruptArchive."""
    return LayoutSource(parse_name(rest), shared=context.shared_blob_dir)


async def open_destination(rest: str, context: ImageContext) -> LayoutDestination:
    """Raises InvalidReference, DestinationOccupied."""
    name = parse_name(rest)
    if name.number >= 0:
        raise InvalidReference(f"invalid name oci:{rest}: @NUMBER is for reading only")
    return LayoutDestination(name, shared=context.shared_blob_dir)


def check_layout(raw: bytes, what: str) -> None:
    """Raises CorruptArchive if the ``oci-layout`` file is not of version 1."""
    version = decode(_Layout, raw, f"oci-layout of {what}").image_layout_version
    if version.partition(".")[0] != "1":
        raise CorruptArchive(f"opening {what}: unknown layout version {version!r}")


def choose_image(index: Index, name: LayoutName, what: str) -> Descriptor:
    """The manifest that the name means; without a name the only one. Raises ImageNotFound."""
    images = index.manifests
    if name.number >= 0:
        if name.number < len(images):
            return images[name.number]
        raise ImageNotFound(f"opening {what}: it has {len(images)} images, counted from @0")
    if name.name:
        named = [item for item in images if item.annotations.get(REF_NAME) == name.name]
        if named:
            return named[0]
        offered = sorted({item.annotations.get(REF_NAME, "") for item in images} - {""})
        raise ImageNotFound(
            f"opening {what}: it has no image of that name",
            hint=f"it has {', '.join(offered)}" if offered else "it has no named images",
        )
    if len(images) == 1:
        return images[0]
    raise ImageNotFound(
        f"opening {what}: it has {len(images)} images",
        hint="add :NAME or :@NUMBER to say which",
    )


def replaced(index: Index, descriptor: Descriptor, name: str) -> Index:
    """The index with an image added: it replaces one of the same name, or the same unnamed one."""

    def same(item: Descriptor) -> bool:
        present = item.annotations.get(REF_NAME, "")
        return present == name if name else not present and item.digest == descriptor.digest

    annotations = {REF_NAME: name} if name else {}
    added = msgspec.structs.replace(descriptor, annotations=annotations)
    kept = [item for item in index.manifests if not same(item)]
    # Written anew, not by position: members move, so stored bytes must not be matched by place.
    return make_index([*kept, added], annotations=index.annotations)


class LayoutSource:
    """Reads one image of a layout."""

    transport = "oci"

    def __init__(self, name: LayoutName, *, shared: str | None = None) -> None:
        self.name = name
        self.reference = f"oci:{name}"
        resolved = msgspec.structs.replace(name, path=os.path.realpath(name.path))
        self.policy_scope = str(resolved)
        self.docker_reference: Reference | None = None
        self._blobs = shared or os.path.join(name.path, "blobs")
        self.top = choose_image(read_index(name.path, self.reference), name, self.reference)

    async def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        digest = instance or self.top.digest
        what = f"manifest {digest} of {self.reference}"
        try:
            raw = read_document(self._path(digest), MANIFEST_LIMIT, what)
        except OSError as error:
            raise ManifestUnknown(
                f"reading {what}: {error.strerror}", hint="the layout is incomplete"
            ) from error
        check_document(raw, digest, what)
        return raw, "" if instance else self.top.media_type

    async def get_blob(self, descriptor: Descriptor) -> FileStream:
        return open_blob_file(self._path(descriptor.digest), descriptor, self.reference)

    async def signatures(self, instance: Digest | None = None) -> list[bytes]:
        return []

    async def close(self) -> None:
        return None

    def _path(self, digest: Digest) -> str:
        return os.path.join(self._blobs, digest.algorithm, digest.encoded)


class LayoutDestination:
    """Adds one image to a layout: blobs are staged in it, and named in index.json at the commit."""

    transport = "oci"
    capabilities = CAPABILITIES

    def __init__(self, name: LayoutName, *, shared: str | None = None) -> None:
        self.name = name
        self.reference = f"oci:{name}"
        self.docker_reference: Reference | None = None
        self._top: Descriptor | None = None
        self._staged: dict[Digest, str] = {}
        _refuse_foreign(name.path, self.reference)
        self._created = not os.path.isdir(name.path)
        self._blobs = shared or os.path.join(name.path, "blobs")
        self._staging = os.path.join(name.path, f".staging-{os.urandom(6).hex()}")
        self._committed = False
        try:
            os.makedirs(self._staging, 0o755)
        except OSError as error:
            raise write_failed(self.reference, error) from error

    async def has_blob(self, descriptor: Descriptor, role: BlobRole) -> Descriptor | None:
        if not role.known:
            return None
        if descriptor.digest in self._staged or os.path.exists(self._path(descriptor.digest)):
            return descriptor
        return None

    async def put_blob(
        self, descriptor: Descriptor, stream: BlobStream, role: BlobRole
    ) -> Descriptor:
        digest, size, path = await write_blob_file(
            self._staging, stream, descriptor, self.reference, known=role.known
        )
        self._stage(digest, path)
        return msgspec.structs.replace(descriptor, digest=digest, size=size)

    async def put_manifest(self, raw: bytes, media_type: str, instance: Digest | None) -> None:
        digest = Digest.of(raw)
        path = os.path.join(self._staging, f".manifest-{os.urandom(8).hex()}")
        try:
            with open(path, "wb") as file:
                file.write(raw)
        except OSError as error:
            raise write_failed(self.reference, error) from error
        self._stage(digest, path)
        if instance is None:
            self._top = Descriptor(media_type=media_type, digest=digest, size=len(raw))

    async def put_signatures(self, signatures: list[bytes], instance: Digest | None) -> None:
        raise AssertionError("layouts hold no signatures, as the capabilities say")

    async def commit(self) -> None:
        import asyncio

        await asyncio.to_thread(self._commit)

    def _commit(self) -> None:
        import fcntl

        assert self._top is not None, "put_manifest comes before commit"
        path = self.name.path
        try:
            for digest, staged in self._staged.items():
                target = self._path(digest)
                os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
                os.rename(staged, target)
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # Two writers of one layout must not lose each other's image.
                fcntl.flock(directory, fcntl.LOCK_EX)
                index_file = os.path.join(path, "index.json")
                present = os.path.exists(index_file)
                index = read_index(path, self.reference) if present else make_index([])
                index = replaced(index, self._top, self.name.name)
                atomic_write(os.path.join(path, "oci-layout"), LAYOUT_FILE, 0o644)
                atomic_write(index_file, index.raw, 0o644)
                self._committed = True
            finally:
                os.close(directory)
        except OSError as error:
            raise write_failed(self.reference, error) from error

    async def close(self) -> None:
        remove_tree(self._staging)
        if self._created and not self._committed:
            remove_tree(self.name.path)

    def _stage(self, digest: Digest, path: str) -> None:
        self._staged[digest] = os.path.join(self._staging, digest.encoded)
        os.rename(path, self._staged[digest])

    def _path(self, digest: Digest) -> str:
        return os.path.join(self._blobs, digest.algorithm, digest.encoded)


def read_index(path: str, what: str) -> Index:
    """Check ``oci-layout`` and read ``index.json``. Raises ImageNotFound, CorruptArchive."""
    try:
        layout = read_document(os.path.join(path, "oci-layout"), LAYOUT_LIMIT, what)
        check_layout(layout, what)
        raw = read_document(os.path.join(path, "index.json"), MANIFEST_LIMIT, what)
    except OSError as error:
        raise ImageNotFound(
            f"opening {what}: {error.filename}: {error.strerror}",
            hint="the path must be the directory of an OCI image layout",
        ) from error
    return parse_index(raw, media.OCI_INDEX, f"index.json of {what}")


def _refuse_foreign(path: str, reference: str) -> None:
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DestinationOccupied(f"writing {reference}: {error.strerror}") from error
    if names and "oci-layout" not in names and not all(n.startswith(".staging-") for n in names):
        raise DestinationOccupied(
            f"writing {reference}: the directory is neither empty nor an OCI layout",
            hint="choose an empty or new directory",
        )
