"""One registry's HTTP API, version 2 (OCI distribution-spec v1.1): the calls that images need."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from yarl import URL

from trilby.image.registry import manifests, paging, upload
from trilby.image.registry.blobs import Blob, Opener
from trilby.image.registry.errors import (
    BlobUnknown,
    ContentMismatch,
    ManifestRejected,
    ManifestUnknown,
    RegistryError,
    RegistryRefused,
    RepositoryUnknown,
    TooLarge,
)
from trilby.image.registry.exchange import Call, Exchange
from trilby.image.registry.manifests import FetchedManifest
from trilby.image.registry.settings import ClientSettings, Clock
from trilby.image.registry.tokens import Login
from trilby.oci.digest import Digest

if TYPE_CHECKING:
    import aiohttp

    from trilby.image.auth import Credentials
    from trilby.image.certs import CertificateFiles

logger = logging.getLogger(__name__)


class RegistryClient:
    """Talks to one registry host. Not bound to a repository: tokens are kept per scope.

    Use as ``async with RegistryClient("registry.example:5000") as client``, in one event loop.
    ``registry`` is host[:port] (docker.io is known by its API's host). ``bearer`` is a token sent
    as it is. ``insecure`` allows unverified TLS and, if there is none, plain HTTP. Methods raise
    the classes of trilby.image.registry.errors.
    """

    def __init__(
        self,
        registry: str,
        *,
        credentials: Credentials | None = None,
        bearer: str = "",
        insecure: bool = False,
        tls: CertificateFiles | None = None,
        settings: ClientSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        login = Login(bearer=bearer)
        if credentials is not None:
            login = Login(
                username=credentials.username,
                password=credentials.password,
                identity_token=credentials.identity_token,
                bearer=bearer,
            )
        self.registry = registry
        self.settings = settings or ClientSettings()
        self._exchange = Exchange(
            registry,
            login=login,
            insecure=insecure,
            tls=tls,
            settings=self.settings,
            clock=clock or Clock(),
        )

    async def __aenter__(self) -> RegistryClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. May be called again."""
        await self._exchange.close()

    async def ping(self) -> None:
        """GET /v2/: is it a registry, and does it accept who we are?"""
        doing = f"pinging registry {self.registry}"
        response = await self._exchange.call(Call(method="GET", target="/v2/", doing=doing))
        response.release()

    async def get_manifest(
        self, repository: str, reference: str, accept: Sequence[str] = manifests.ACCEPT
    ) -> FetchedManifest:
        """Fetch by tag or digest; what comes for a digest is verified. At most 4 MiB.

        Raises ManifestUnknown, ContentMismatch, TooLarge, BadResponse and the rest.
        """
        doing = f"reading manifest {reference} in {self.registry}/{repository}"
        raw, response = await self._exchange.fetch(
            self._manifest_call("GET", repository, reference, doing, accept),
            self.settings.manifest_limit,
        )
        return manifests.check(raw, response.headers, reference, doing)

    async def head_manifest(
        self, repository: str, reference: str, accept: Sequence[str] = manifests.ACCEPT
    ) -> Digest | None:
        """The digest that the registry claims for a tag; None if it has no such manifest.

        A registry whose answer to HEAD has no digest is asked for the whole manifest.
        """
        doing = f"reading manifest {reference} in {self.registry}/{repository}"
        try:
            response = await self._exchange.call(
                self._manifest_call("HEAD", repository, reference, doing, accept)
            )
            response.release()
            claimed = manifests.claimed_digest(response.headers)
            if claimed is not None:
                return claimed
            return (await self.get_manifest(repository, reference, accept)).digest
        except ManifestUnknown:
            return None

    async def get_blob(
        self,
        repository: str,
        digest: Digest,
        size: int = -1,
        *,
        urls: Sequence[str] = (),
        verify: bool = True,
    ) -> Blob:
        """Open a blob: see Blob. ``size`` -1: not known. ``urls``: where else it may be had.

        Raises BlobUnknown and the rest.
        """
        doing = f"reading blob {digest} in {self.registry}/{repository}"
        try:
            return await self._open_blob(
                self._blob_url(repository, digest), repository, digest, size, doing, verify
            )
        except RegistryError as error:
            for text in urls:
                logger.info("%s; trying %s", error, text)
                try:
                    return await self._open_blob(text, "", digest, size, doing, verify)
                except (RegistryError, ValueError) as failure:
                    logger.info("%s", failure)
            raise

    def blob_opener(self, repository: str, digest: Digest) -> Opener:
        """For Blob.fallbacks: reads the same blob from here, from any offset on."""
        doing = f"reading blob {digest} in {self.registry}/{repository}"
        return self._opener(self._blob_url(repository, digest), repository, doing)

    async def blob_size(self, repository: str, digest: Digest, *, push: bool = False) -> int | None:
        """HEAD: the length in bytes (-1 if not said); None if the repository has no such blob.

        ``push``: an upload may follow, so ask for a token that is good for both.
        """
        scope = upload.push_scope if push else upload.pull_scope
        call = Call(
            method="HEAD",
            target=self._blob_url(repository, digest),
            doing=f"checking blob {digest} in {self.registry}/{repository}",
            scopes=frozenset({scope(repository)}),
            unknown=BlobUnknown,
        )
        try:
            response = await self._exchange.call(call)
        except BlobUnknown:
            return None
        response.release()
        length = response.content_length
        return -1 if length is None else length

    async def mount_blob(self, repository: str, digest: Digest, source: str) -> bool:
        """Link a blob of the repository ``source`` into ``repository``; False if refused."""
        return await upload.mount(self._exchange, repository, digest, source)

    async def put_blob(
        self,
        repository: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size: int = -1,
    ) -> tuple[Digest, int]:
        """Upload; returns digest and length as they are. Nothing is left behind on failure.

        ``digest`` and ``size`` are checked if given. No existence check: see blob_size().
        """
        what = f"blob {digest}" if digest else "a blob"
        doing = f"writing {what} to {self.registry}/{repository}"
        algorithm = digest.algorithm if digest else "sha256"
        sending = upload.Upload(self._exchange, repository, doing, algorithm)
        try:
            await sending.start()
            if self.settings.upload_chunk:
                await sending.send_chunks(chunks, self.settings.upload_chunk)
            else:
                await sending.send(chunks, size)
            if 0 <= size != sending.length:
                raise ContentMismatch(f"{doing}: {sending.length} bytes came, not {size}")
            return await sending.finish(digest), sending.length
        except BaseException:
            await sending.cancel()
            raise

    async def put_manifest(
        self, repository: str, reference: str, raw: bytes, media_type: str
    ) -> Digest:
        """Write by tag or digest. Raises ManifestRejected if this type or content is refused."""
        doing = f"writing manifest {reference} to {self.registry}/{repository}"
        if len(raw) > self.settings.manifest_limit:
            raise TooLarge(
                f"{doing}: {len(raw)} bytes, at most {self.settings.manifest_limit} are allowed"
            )
        call = Call(
            method="PUT",
            target=f"/v2/{repository}/manifests/{quote(reference, safe=':')}",
            doing=doing,
            scopes=frozenset({upload.push_scope(repository)}),
            headers={"Content-Type": media_type},
            body=raw,
            commits=True,
            ok=frozenset({200, 201, 202, 204, 400, 415, 422}),
        )
        response = await self._exchange.call(call)
        if response.status >= 400:
            raise await self._rejection(response, call)
        response.release()
        return Digest.of(raw)

    async def tags(self, repository: str) -> list[str]:
        """All tags, over all pages, in the registry's order."""
        doing = f"listing tags of {self.registry}/{repository}"
        target: str | URL = f"/v2/{repository}/tags/list?n={self.settings.page_size}"
        found: list[str] = []
        visited: set[URL] = set()
        while len(visited) < self.settings.pages:
            call = Call(
                method="GET",
                target=target,
                doing=doing,
                scopes=frozenset({upload.pull_scope(repository)}),
                unknown=RepositoryUnknown,
            )
            raw, response = await self._exchange.fetch(call, self.settings.page_limit)
            found += paging.decode_tags(raw, response.content_type, doing)
            visited.add(response.url)
            link = paging.next_link(response.headers.getall("Link", []))
            if link is None:
                break
            target = await self._exchange.resolve(link, response.url)
            if target in visited:
                break
        return found

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Raises ManifestUnknown, and RegistryRefused where deletion is switched off."""
        doing = f"deleting manifest {digest} in {self.registry}/{repository}"
        actions = frozenset({f"repository:{repository}:delete", upload.push_scope(repository)})
        call = Call(
            method="DELETE",
            target=f"/v2/{repository}/manifests/{digest}",
            doing=doing,
            scopes=actions,
            ok=frozenset({200, 202, 204}),
            unknown=ManifestUnknown,
        )
        try:
            (await self._exchange.call(call)).release()
        except RegistryRefused as error:
            error.hint = error.hint or "deletion must be enabled in the registry's configuration"
            raise

    def _blob_url(self, repository: str, digest: Digest) -> str:
        return f"/v2/{repository}/blobs/{digest}"

    def _manifest_call(
        self, method: str, repository: str, reference: str, doing: str, accept: Sequence[str]
    ) -> Call:
        return Call(
            method=method,
            target=f"/v2/{repository}/manifests/{quote(reference, safe=':')}",
            doing=doing,
            scopes=frozenset({upload.pull_scope(repository)}),
            headers={"Accept": ", ".join(accept)},
            unknown=ManifestUnknown,
        )

    async def _open_blob(
        self, target: str, repository: str, digest: Digest, size: int, doing: str, verify: bool
    ) -> Blob:
        blob = Blob(
            self._opener(target, repository, doing),
            digest=digest,
            size=size,
            verify=verify,
            doing=doing,
            settings=self.settings,
            clock=self._exchange.clock,
        )
        return await blob.open()

    def _opener(self, target: str, repository: str, doing: str) -> Opener:
        scopes = frozenset({upload.pull_scope(repository)}) if repository else frozenset[str]()
        call = Call(method="GET", target=target, doing=doing, scopes=scopes, unknown=BlobUnknown)

        async def opener(offset: int) -> aiohttp.ClientResponse:
            if not offset:
                return await self._exchange.call(call)
            # The blob itself counts the attempts to resume.
            return await self._exchange.call_once(
                msgspec.structs.replace(
                    call, headers={"Range": f"bytes={offset}-"}, ok=frozenset({200, 206})
                )
            )

        return opener

    async def _rejection(self, response: aiohttp.ClientResponse, call: Call) -> RegistryError:
        failure = await self._exchange.failure(response, call.doing)
        if "MANIFEST_BLOB_UNKNOWN" in failure.codes:
            return failure.error(call.doing)
        return ManifestRejected(f"{call.doing}: {failure.text}", status=failure.status)
