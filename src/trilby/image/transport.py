"""What the copy engine needs of a place where images are: Source, Destination, BlobStream.

A transport is a module ``trilby.image.transports.<name>`` with two coroutines, ``open_source(rest,
context)`` and ``open_destination(rest, context)``, where ``rest`` is what follows ``docker://`` or
``oci:``. :func:`open_source` and :func:`open_destination` here find the module and import it late.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

from trilby.image.registry import quick_start
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.reference import Reference
    from trilby.oci.manifest import Manifest
    from trilby.storage.store import Store

#: A manifest, an index or an image config may be this long, in bytes.
MANIFEST_LIMIT = 4 * 1024 * 1024
CONFIG_LIMIT = 4 * 1024 * 1024

CompressionChoice = Literal["preserve", "compress", "decompress"]


class BlobStream(Protocol):
    """The bytes of one blob, in chunks of the source's choice (64 KiB to 1 MiB are good).

    Iterate once. ``close()`` ends it early or late and is safe to call twice. Iteration raises the
    room's errors; it need not check the digest, the engine and the destinations do.
    """

    @property
    def size(self) -> int:
        """Length in bytes, -1 when the source does not know."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def close(self) -> None: ...


class Source(Protocol):
    """An image, or a list of images, that can be read.

    ``transport`` is the transport's name ("docker", "oci", ...). ``reference`` is the text that
    messages show, with the transport. ``policy_scope`` is what policy.json's scopes are matched
    with, as that transport defines it ("" if it defines none). ``docker_reference`` is the image's
    name, if it has one, that signatures must name.
    """

    @property
    def transport(self) -> str: ...

    @property
    def reference(self) -> str: ...

    @property
    def policy_scope(self) -> str: ...

    @property
    def docker_reference(self) -> Reference | None: ...

    async def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        """The top manifest's bytes, or those of one instance of the index, and the media type.

        The media type is "" when the source does not know. At most MANIFEST_LIMIT bytes. A source
        that was asked by digest (``instance``, or a reference with a digest) checks it.
        """
        ...

    async def get_blob(self, descriptor: Descriptor) -> BlobStream:
        """Open a blob. Raises NotFound kinds when it is not there."""
        ...

    async def signatures(self, instance: Digest | None = None) -> list[bytes]:
        """Signature blobs of the top manifest or an instance, in the encoding of ``dir:``."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class LayerRewriter(Protocol):
    """A source with layers in another form than its manifest says: a store has them unpacked."""

    async def layers_for_copy(self, manifest: Manifest) -> list[Descriptor]:
        """What ``get_blob`` will give for each layer: digest and size of the uncompressed form."""
        ...


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a destination takes."""

    #: Media types of manifests it accepts, the preferred one first; empty: every type.
    manifest_types: tuple[str, ...] = ()
    #: It takes indexes, and so several instances.
    multi_platform: bool = True
    signatures: bool = False
    #: What happens to layers when the caller does not say.
    layers: CompressionChoice = "preserve"
    #: It hashes what it is given and refuses a wrong digest, so that the engine need not.
    verifies: bool = False
    #: The reference has a digest: the manifest must stay as it is, byte for byte.
    pinned: bool = False
    #: It wants the config before the layers (it then knows diff ids and can reuse layers).
    config_first: bool = True


class BlobRole(msgspec.Struct, frozen=True, kw_only=True):
    """What a blob is in its image."""

    kind: Literal["layer", "config"]
    #: Position among the layers; -1 for a config.
    index: int = -1
    #: False: the engine changes the blob on its way, so its digest and size are known only
    #: afterwards; the destination hashes and returns them.
    known: bool = True
    #: What the image config says this layer is when uncompressed, if it is known.
    diff_id: Digest | None = None
    #: Diff ids of the layers below, lowest first, if they are known.
    below: tuple[Digest, ...] = ()


@runtime_checkable
class TopLevelKeeper(Protocol):
    """A destination of one image that also remembers the index it was chosen from."""

    async def keep_toplevel(self, raw: bytes, media_type: str) -> None:
        """Called before ``put_manifest``, after the policy has accepted the index."""
        ...


@runtime_checkable
class BlobLinker(Protocol):
    """A destination that can link blobs from other repositories of the same registry."""

    def mount_from(self, source: Reference) -> None:
        """Say that this repository probably has the image's blobs."""
        ...


@runtime_checkable
class Preparer(Protocol):
    """A destination that can get ready while the source is still being asked."""

    def prepare(self, manifest: Manifest) -> None:
        """Called once the policy has accepted the manifest; must not block."""
        ...


@runtime_checkable
class ConfigKeeper(Protocol):
    """A destination that may have the image's config already, so that it need not be fetched."""

    async def known_config(self, descriptor: Descriptor) -> bytes | None:
        """The bytes, unchecked, or None."""
        ...


class Destination(Protocol):
    """A place that an image is written to. ``close()`` without ``commit()`` leaves nothing."""

    @property
    def transport(self) -> str: ...

    @property
    def reference(self) -> str: ...

    @property
    def docker_reference(self) -> Reference | None: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def has_blob(self, descriptor: Descriptor, role: BlobRole) -> Descriptor | None:
        """The descriptor to put in the manifest if the blob needs no copying, else None."""
        ...

    async def put_blob(
        self, descriptor: Descriptor, stream: BlobStream, role: BlobRole
    ) -> Descriptor:
        """Take the whole stream; several calls may run at once.

        Returns ``descriptor`` with digest and size as they really are. With ``role.known`` other
        bytes than the descriptor names raise a Corrupt kind.
        """
        ...

    async def put_manifest(self, raw: bytes, media_type: str, instance: Digest | None) -> None:
        """Write the top manifest (``instance`` None), or one that an index will name."""
        ...

    async def put_signatures(self, signatures: list[bytes], instance: Digest | None) -> None: ...

    async def commit(self) -> None:
        """Make it all visible, at once."""
        ...

    async def close(self) -> None: ...


async def open_source(text: str, context: ImageContext, *, store: Store | None = None) -> Source:
    """Open ``transport:rest`` for reading. ``store`` serves ``containers-storage:`` names.

    Raises InvalidInput kinds for an unknown transport or malformed reference, NotFound kinds.
    """
    from trilby.image.reference import parse_transport

    name, rest = parse_transport(text)
    match name:
        case "docker":
            quick_start.import_http_client()
            from trilby.image.transports import docker

            return await docker.open_source(rest, context)
        case "oci":
            from trilby.image.transports import oci_layout

            return await oci_layout.open_source(rest, context)
        case "oci-archive":
            from trilby.image.transports import oci_archive

            return await oci_archive.open_source(rest, context)
        case "docker-archive":
            from trilby.image.transports import docker_archive

            return await docker_archive.open_source(rest, context)
        case "dir":
            from trilby.image.transports import directory

            return await directory.open_source(rest, context)
        case "containers-storage":
            from trilby.image.transports import storage

            return await storage.open_source(rest, context, store=store)
    raise _unknown_transport(name, text)


async def open_destination(
    text: str, context: ImageContext, *, store: Store | None = None
) -> Destination:
    """Open ``transport:rest`` for writing; see :func:`open_source`."""
    from trilby.image.reference import parse_transport

    name, rest = parse_transport(text)
    match name:
        case "docker":
            quick_start.import_http_client()
            from trilby.image.transports import docker

            return await docker.open_destination(rest, context)
        case "oci":
            from trilby.image.transports import oci_layout

            return await oci_layout.open_destination(rest, context)
        case "oci-archive":
            from trilby.image.transports import oci_archive

            return await oci_archive.open_destination(rest, context)
        case "docker-archive":
            from trilby.image.transports import docker_archive

            return await docker_archive.open_destination(rest, context)
        case "dir":
            from trilby.image.transports import directory

            return await directory.open_destination(rest, context)
        case "containers-storage":
            from trilby.image.transports import storage

            return await storage.open_destination(rest, context, store=store)
    raise _unknown_transport(name, text)


def _unknown_transport(name: str, text: str) -> Exception:
    from trilby.image.errors import UnknownTransport

    return UnknownTransport(
        f"opening {text}: the transport {name} is not supported",
        hint="use docker://, oci:, oci-archive:, docker-archive:, dir: or containers-storage:",
    )
