"""Sources and destinations of images in memory, that watch what the copy engine does to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from msgspec.structs import replace
from tests.support.images import Blob, SampleImage

from trilby.image.errors import BlobUnknown, CorruptImage, ManifestUnknown
from trilby.image.reference import Reference
from trilby.image.transport import BlobRole, BlobStream, Capabilities
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest

Hook = Callable[[str], None]


class MemoryStream:
    """Chunks of a blob; ``gate`` is awaited before each, so that a test can hold a transfer."""

    def __init__(self, data: bytes, chunk: int, gate: asyncio.Event | None) -> None:
        self.size = len(data)
        self.closed = False
        self._data = data
        self._chunk = chunk
        self._gate = gate

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self._data), self._chunk):
            if self._gate is not None:
                await self._gate.wait()
            await asyncio.sleep(0)
            yield self._data[start : start + self._chunk]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def close(self) -> None:
        self.closed = True


class MemorySource:
    """Serves images from memory. ``log`` lists the calls, as ``manifest top`` or ``blob <digest>``."""

    transport = "memory"
    policy_scope = "scope"

    def __init__(
        self, image: SampleImage | None = None, *, index: Blob | None = None, chunk: int = 1000
    ) -> None:
        self.reference = "memory:source"
        self.docker_reference: Reference | None = None
        self.blobs: dict[str, bytes] = {}
        self.top: bytes = b""
        self.media_type = ""
        self.log: list[str] = []
        self.streams: list[MemoryStream] = []
        self.gate: asyncio.Event | None = None
        self.signed: dict[str, list[bytes]] = {}
        self._chunk = chunk
        if image is not None:
            self.add(image)
            self.top, self.media_type = image.manifest.data, image.manifest.media_type
        if index is not None:
            self.top, self.media_type = index.data, index.media_type

    def add(self, image: SampleImage) -> None:
        self.blobs |= image.blobs

    @property
    def open_streams(self) -> int:
        return sum(not stream.closed for stream in self.streams)

    async def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        self.log.append(f"manifest {instance or 'top'}")
        if instance is None:
            return self.top, self.media_type
        if str(instance) not in self.blobs:
            raise ManifestUnknown(f"no manifest {instance}")
        return self.blobs[str(instance)], ""

    async def get_blob(self, descriptor: Descriptor) -> MemoryStream:
        self.log.append(f"blob {descriptor.digest}")
        if str(descriptor.digest) not in self.blobs:
            raise BlobUnknown(f"no blob {descriptor.digest}")
        data = self.blobs[str(descriptor.digest)]
        stream = MemoryStream(data, self._chunk, self.gate if b"{" != data[:1] else None)
        self.streams.append(stream)
        return stream

    async def signatures(self, instance: Digest | None = None) -> list[bytes]:
        return self.signed.get(str(instance or "top"), [])

    async def close(self) -> None:
        return None


class MemoryDestination:
    """Keeps what it is given; ``most`` is how many blobs came at the same time."""

    transport = "memory"
    docker_reference: Reference | None = None

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.reference = "memory:destination"
        self.capabilities = capabilities or Capabilities(signatures=True)
        self.blobs: dict[str, bytes] = {}
        self.present: dict[str, Descriptor] = {}
        self.manifests: dict[str, bytes] = {}
        self.signed: dict[str, list[bytes]] = {}
        self.roles: dict[str, BlobRole] = {}
        self.order: list[str] = []
        self.committed = False
        self.most = self.now = 0

    async def has_blob(self, descriptor: Descriptor, role: BlobRole) -> Descriptor | None:
        return self.present.get(str(descriptor.digest)) if role.known else None

    async def put_blob(
        self, descriptor: Descriptor, stream: BlobStream, role: BlobRole
    ) -> Descriptor:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            data = b"".join([chunk async for chunk in stream])
        finally:
            self.now -= 1
        digest = Digest.of(data)
        if role.known and self.capabilities.verifies and digest != descriptor.digest:
            raise CorruptImage("wrong digest")
        self.blobs[str(digest)] = data
        self.roles[str(digest)] = role
        self.order.append(role.kind)
        return replace(descriptor, digest=digest, size=len(data))

    async def put_manifest(self, raw: bytes, media_type: str, instance: Digest | None) -> None:
        self.manifests[str(instance or "top")] = raw
        self.order.append("manifest")

    async def put_signatures(self, signatures: list[bytes], instance: Digest | None) -> None:
        self.signed[str(instance or "top")] = signatures

    async def commit(self) -> None:
        self.committed = True

    async def close(self) -> None:
        return None
