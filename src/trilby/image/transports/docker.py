"""docker://NAME[:TAG|@DIGEST]: images in registries; read through mirrors, written directly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from trilby.image.reference import Reference
from trilby.image.registries import Endpoint, Registries, load_registries
from trilby.image.registriesd import (
    Lookaside,
    load_registries_d,
    read_signatures,
    write_signatures,
)
from trilby.image.registry.connect import connect, is_insecure, settings_of
from trilby.image.registry.errors import InvalidRequest, RegistryError
from trilby.image.transport import BlobRole, Capabilities
from trilby.oci import media
from trilby.oci.digest import Digest

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.registry.blobs import Blob, Opener
    from trilby.image.registry.client import RegistryClient
    from trilby.image.transport import BlobStream
    from trilby.oci.descriptor import Descriptor

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def open_source(rest: str, context: ImageContext) -> DockerSource:
    """Raises InvalidReference, ConfigError, RegistryBlocked. Nothing is sent yet."""
    reference = parse_name(rest)
    registries = await asyncio.to_thread(_registries, context)
    return DockerSource(reference, registries, context)


async def open_destination(rest: str, context: ImageContext) -> DockerDestination:
    """Raises InvalidReference, ConfigError, RegistryBlocked, CredentialsError."""
    reference = parse_name(rest)
    registries = await asyncio.to_thread(_registries, context)
    endpoint = registries.destination(reference)
    client = await connect(
        endpoint.reference,
        context,
        insecure=endpoint.insecure,
        helpers=registries.credential_helpers,
    )
    where = await asyncio.to_thread(load_registries_d, context.registries_d)
    return DockerDestination(reference, client, where.lookaside(reference))


def _registries(context: ImageContext) -> Registries:
    """registries.conf, and what the caller says besides."""
    found = load_registries(context.registries_conf, context.registries_conf_dir)
    return msgspec.structs.replace(found, insecure_hosts=context.insecure_registries)


def parse_name(rest: str) -> Reference:
    """A full name with tag or digest; of both the digest counts. Raises InvalidReference."""
    reference = Reference.parse(rest)
    if reference.digest is not None:
        return reference.without_tag()
    return reference.with_default_tag()


class _Place:
    """One endpoint and its client, made when it is first needed."""

    def __init__(self, endpoint: Endpoint, open_client: Callable[[], Awaitable[RegistryClient]]):
        self.endpoint = endpoint
        self._open = open_client
        self._lock = asyncio.Lock()
        self._client: RegistryClient | None = None

    @property
    def repository(self) -> str:
        return self.endpoint.reference.path

    async def client(self) -> RegistryClient:
        async with self._lock:
            if self._client is None:
                self._client = await self._open()
            return self._client

    async def blob_opener(self, digest: Digest) -> Opener:
        return (await self.client()).blob_opener(self.repository, digest)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class DockerSource:
    """A trilby.image.transport.Source over the endpoints that registries.conf gives.

    Whatever one endpoint cannot serve, for any reason, is asked of the next. What is asked by
    digest is the same everywhere, so manifests and blobs may come from different endpoints; the
    one that served last is asked first.
    """

    transport = "docker"

    def __init__(self, reference: Reference, registries: Registries, context: ImageContext) -> None:
        self._reference = reference
        self._context = context
        self._registries = registries
        endpoints = registries.resolve(reference)
        self._places = [self._place(e, last=e is endpoints[-1]) for e in endpoints]
        self._preferred = self._places[0]
        self._top: tuple[bytes, str, Digest] | None = None

    @property
    def reference(self) -> str:
        return f"docker://{self._reference}"

    @property
    def policy_scope(self) -> str:
        return str(self._reference)

    @property
    def docker_reference(self) -> Reference:
        return self._reference

    async def get_manifest(self, instance: Digest | None = None) -> tuple[bytes, str]:
        """From the first endpoint that has it. By digest what comes is verified."""
        if instance is None and self._top is not None:
            return self._top[:2]

        async def get(place: _Place) -> tuple[bytes, str, Digest]:
            client = await place.client()
            wanted = str(instance) if instance else _tag_or_digest(place.endpoint.reference)
            got = await client.get_manifest(place.repository, wanted)
            return got.raw, got.media_type, got.digest

        found = await self._first_success(get)
        if instance is None:
            self._top = found
        return found[:2]

    async def get_blob(self, descriptor: Descriptor) -> Blob:
        """Its length is checked here; its digest is the engine's or the destination's to check.

        If the place that has it fails for good on the way, the rest comes from another one.
        """

        # Other layers' URLs are nobody's business: a manifest must not make us call just anywhere.
        foreign = descriptor.media_type in media.NONDISTRIBUTABLE_TYPES
        urls = tuple(descriptor.urls or ()) if foreign else ()

        async def get(place: _Place) -> tuple[Blob, _Place]:
            client = await place.client()
            blob = await client.get_blob(
                place.repository,
                descriptor.digest,
                descriptor.size,
                urls=urls,
                verify=False,
            )
            return blob, place

        blob, found = await self._first_success(get)
        others = (place for place in self._places if place is not found)
        blob.fallbacks = [partial(place.blob_opener, descriptor.digest) for place in others]
        return blob

    async def signatures(self, instance: Digest | None = None) -> list[bytes]:
        """Simple signatures from the lookaside of the place read from, or of the image's name."""
        from trilby.image.registry.lookaside import SignatureFetcher

        if instance is None and self._top is None:
            await self.get_manifest()
        digest = instance or (self._top[2] if self._top else None)
        assert digest is not None
        where = await asyncio.to_thread(load_registries_d, self._context.registries_d)
        endpoint = self._preferred.endpoint
        name = endpoint.reference.name_only()
        lookaside = where.lookaside(name)
        if not lookaside.configured:
            # Signatures are about the image's name; few say anything about their mirrors.
            name = self._reference.name_only()
            lookaside = where.lookaside(name)
        async with SignatureFetcher(
            insecure=is_insecure(self._context, endpoint.insecure),
            settings=settings_of(self._context),
        ) as fetch:
            return await read_signatures(lookaside, name, digest, fetch)

    async def close(self) -> None:
        for place in self._places:
            await place.close()

    def _place(self, endpoint: Endpoint, *, last: bool) -> _Place:
        settings = settings_of(self._context)
        if not last:
            # There is another place to ask: do not insist on one that is down.
            settings = msgspec.structs.replace(settings, connect_attempts=1)

        async def open_client() -> RegistryClient:
            return await connect(
                endpoint.reference,
                self._context,
                insecure=endpoint.insecure,
                own=endpoint.reference.domain == self._reference.domain,
                helpers=self._registries.credential_helpers,
                settings=settings,
            )

        return _Place(endpoint, open_client)

    async def _first_success(self, get: Callable[[_Place], Awaitable[T]]) -> T:
        errors: list[tuple[_Place, RegistryError]] = []
        first = self._preferred
        for place in (first, *(p for p in self._places if p is not first)):
            try:
                result = await get(place)
            except RegistryError as error:
                logger.info("%s", error)
                errors.append((place, error))
                continue
            self._preferred = place
            return result
        raise self._combined(errors)

    def _combined(self, errors: list[tuple[_Place, RegistryError]]) -> RegistryError:
        """The registry's own error, with those of the mirrors; of the registry's kind."""
        own = next((e for place, e in errors if place is self._places[-1]), errors[-1][1])
        others = [(place, e) for place, e in errors if e is not own]
        if not others:
            return own
        listed = " ".join(f"[{place.endpoint.reference.name}: {e.message}]" for place, e in others)
        return type(own)(
            f"{own.message} (mirrors also failed: {listed})",
            hint=own.hint,
            status=own.status,
            transient=own.transient,
        )


class DockerDestination:
    """A trilby.image.transport.Destination: blobs go up first, the manifest makes them an image."""

    transport = "docker"

    def __init__(self, reference: Reference, client: RegistryClient, lookaside: Lookaside) -> None:
        self._reference = reference
        self._client = client
        self._lookaside = lookaside
        self._top: Digest | None = None
        self._mount_from: list[str] = []

    @property
    def reference(self) -> str:
        return f"docker://{self._reference}"

    @property
    def docker_reference(self) -> Reference:
        return self._reference

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            manifest_types=(
                media.OCI_MANIFEST,
                media.DOCKER_MANIFEST,
                media.OCI_INDEX,
                media.DOCKER_LIST,
            ),
            layers="compress",
            verifies=True,
            signatures=self._lookaside.write_url.startswith("file:"),
            pinned=self._reference.digest is not None,
            config_first=False,
        )

    def mount_from(self, source: Reference) -> None:
        """Say that ``source`` has the blobs: the same registry can then link instead of copy."""
        if source.domain == self._reference.domain and source.path != self._reference.path:
            self._mount_from.append(source.path)

    async def has_blob(self, descriptor: Descriptor, role: BlobRole) -> Descriptor | None:
        """HEAD, then a mount from the repositories that mount_from() named."""
        if not role.known:
            return None
        path = self._reference.path
        if await self._client.blob_size(path, descriptor.digest, push=True) is not None:
            return descriptor
        for source in self._mount_from:
            if await self._client.mount_blob(path, descriptor.digest, source):
                return descriptor
        return None

    async def put_blob(
        self, descriptor: Descriptor, stream: BlobStream, role: BlobRole
    ) -> Descriptor:
        """Upload. Wrong bytes raise ContentMismatch and the upload is cancelled."""
        digest, size = await self._client.put_blob(
            self._reference.path,
            stream,
            digest=descriptor.digest if role.known else None,
            size=descriptor.size if role.known else -1,
        )
        return msgspec.structs.replace(descriptor, digest=digest, size=size)

    async def put_manifest(self, raw: bytes, media_type: str, instance: Digest | None) -> None:
        """PUT. The top manifest is the last thing that an image needs: it is visible then."""
        target = str(instance) if instance else _tag_or_digest(self._reference)
        written = await self._client.put_manifest(self._reference.path, target, raw, media_type)
        if instance is None:
            self._top = written

    async def put_signatures(self, signatures: list[bytes], instance: Digest | None) -> None:
        """Into registries.d's lookaside-staging, a directory that somebody publishes."""
        digest = instance or self._top
        if digest is None:
            raise InvalidRequest(f"storing signatures of {self._reference}: no manifest is written")
        await asyncio.to_thread(
            write_signatures, self._lookaside, self._reference, digest, signatures
        )

    async def commit(self) -> None:
        """Nothing: put_manifest() made it visible."""

    async def close(self) -> None:
        await self._client.close()


def _tag_or_digest(reference: Reference) -> str:
    return str(reference.digest) if reference.digest else reference.tag
