"""Sending blobs (distribution-spec, "Pushing blobs"): mounts, one stream, or chunk by chunk."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from yarl import URL

from trilby.image.registry.errors import (
    BadResponse,
    ContentMismatch,
    RegistryError,
    RegistryNotFound,
    RegistryUnavailable,
)
from trilby.image.registry.exchange import Call, Exchange
from trilby.image.registry.retry import Backoff
from trilby.oci.digest import Digest, Hasher, hasher

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

_OCTETS = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


def pull_scope(repository: str) -> str:
    return f"repository:{repository}:pull"


def push_scope(repository: str) -> str:
    return f"repository:{repository}:pull,push"


async def mount(exchange: Exchange, repository: str, digest: Digest, source: str) -> bool:
    """Link a blob of ``source`` into ``repository``; False if the registry would not."""
    doing = f"mounting blob {digest} of {source} into {exchange.registry}/{repository}"
    path = f"/v2/{repository}/blobs/uploads/?mount={quote(str(digest))}&from={quote(source)}"
    response = await exchange.call(
        Call(
            method="POST",
            target=path,
            doing=doing,
            scopes=frozenset({push_scope(repository), pull_scope(source)}),
            ok=frozenset({201, 202}),
        )
    )
    response.release()
    if response.status == 201:
        return True
    # An upload was opened instead, which nobody wants.
    upload = Upload(exchange, repository, doing)
    upload.location = await upload.read_location(response)
    await upload.cancel()
    return False


class Upload:
    """One upload: start(), send() or send_chunks(), finish(); else cancel()."""

    def __init__(
        self, exchange: Exchange, repository: str, doing: str, algorithm: str = "sha256"
    ) -> None:
        self._exchange = exchange
        self._repository = repository
        self._scopes = frozenset({push_scope(repository)})
        self._doing = doing
        self._hasher: Hasher = hasher(algorithm)
        self._source_error: Exception | None = None
        self.length = 0
        self.location = URL()

    async def start(self) -> None:
        """Ask for a place to upload to."""
        response = await self._exchange.call(
            Call(
                method="POST",
                target=f"/v2/{self._repository}/blobs/uploads/",
                doing=self._doing,
                scopes=self._scopes,
                ok=frozenset({202}),
            )
        )
        response.release()
        self.location = await self.read_location(response)

    async def send(self, chunks: AsyncIterable[bytes], size: int = -1) -> None:
        """The whole blob in one request, which cannot be sent again if it breaks."""
        headers = dict(_OCTETS)
        if size >= 0:
            headers["Content-Length"] = str(size)
        try:
            async with asyncio.timeout(None) as timeout:
                response = await self._exchange.call_once(
                    Call(
                        method="PATCH",
                        target=self.location,
                        doing=self._doing,
                        scopes=self._scopes,
                        headers=headers,
                        body=lambda: self._counted(chunks, timeout),
                        ok=frozenset({202, 204}),
                        repeatable=False,
                        commits=True,
                    )
                )
        except TimeoutError:
            raise RegistryUnavailable(
                f"{self._doing}: timed out, the registry takes no more bytes", transient=True
            ) from None
        except RegistryError:
            if self._source_error is not None:
                # Not the registry failed but what we read from; aiohttp wrapped that away.
                raise self._source_error from None
            raise
        response.release()
        self.location = await self.read_location(response)

    async def send_chunks(self, chunks: AsyncIterable[bytes], size: int) -> None:
        """The blob in PATCHes of ``size`` bytes; one that fails is sent again from where it is."""
        async for piece in _pieces(chunks, size):
            self._hasher.update(piece)
            await self._send_piece(piece, self.length)
            self.length += len(piece)

    async def finish(self, digest: Digest | None) -> Digest:
        """Close the upload; raises ContentMismatch before that if it was not ``digest``."""
        found = Digest.from_hasher(self._hasher)
        if digest is not None and digest != found:
            raise ContentMismatch(f"{self._doing}: the bytes to send have the digest {found}")
        target = self.location.update_query({"digest": str(found)})
        call = Call(
            method="PUT",
            target=target,
            doing=self._doing,
            scopes=self._scopes,
            headers={**_OCTETS, "Content-Length": "0"},
            commits=True,
            ok=frozenset({201, 204}),
        )
        try:
            (await self._exchange.call(call)).release()
        except RegistryNotFound:
            # Perhaps an earlier attempt did it, and only its answer was lost.
            if not await self._is_there(found):
                raise
        self.location = URL()
        return found

    async def _is_there(self, digest: Digest) -> bool:
        call = Call(
            method="HEAD",
            target=f"/v2/{self._repository}/blobs/{digest}",
            doing=self._doing,
            scopes=self._scopes,
        )
        try:
            (await self._exchange.call(call)).release()
        except RegistryNotFound:
            return False
        return True

    async def cancel(self) -> None:
        """Tell the registry to forget what it has; its answer does not matter."""
        if not self.location.host:
            return
        call = Call(
            method="DELETE",
            target=self.location,
            doing=f"{self._doing}: cancelling",
            scopes=self._scopes,
            ok=frozenset({200, 202, 204}),
        )
        try:
            async with asyncio.timeout(10):
                (await self._exchange.call_once(call)).release()
        except (RegistryError, TimeoutError) as error:
            logger.info("an unfinished upload stays until the registry purges it: %s", error)

    async def read_location(self, response: aiohttp.ClientResponse) -> URL:
        """Where to go on."""
        location = response.headers.get("Location", "")
        if not location:
            raise BadResponse(f"{self._doing}: the registry names no upload location")
        try:
            return await self._exchange.resolve(location, response.url)
        except ValueError as error:
            raise BadResponse(f"{self._doing}: unusable upload location") from error

    async def _counted(
        self, chunks: AsyncIterable[bytes], timeout: asyncio.Timeout
    ) -> AsyncGenerator[bytes, None]:
        """The same bytes, hashed. The source may take its time; the registry must go on taking."""
        patience = self._exchange.settings.progress_timeout
        now = asyncio.get_running_loop().time
        iterator = aiter(chunks)
        while True:
            try:
                chunk = await anext(iterator)
            except StopAsyncIteration:
                return
            except Exception as error:
                self._source_error = error
                raise
            self._hasher.update(chunk)
            self.length += len(chunk)
            timeout.reschedule(now() + patience)
            yield chunk
            timeout.reschedule(None)

    async def _send_piece(self, piece: bytes, start: int) -> None:
        backoff = Backoff(self._exchange.settings, self._exchange.clock)
        sent = 0
        while sent < len(piece):
            try:
                await self._patch(piece[sent:], start + sent)
                return
            except RegistryError as error:
                await backoff.wait(error)
            sent = await self._received(start) - start
            if not 0 <= sent <= len(piece):
                raise BadResponse(f"{self._doing}: the registry lost its place in the upload")

    async def _patch(self, piece: bytes, start: int) -> None:
        response = await self._exchange.call_once(
            Call(
                method="PATCH",
                target=self.location,
                doing=self._doing,
                scopes=self._scopes,
                headers={**_OCTETS, "Content-Range": f"{start}-{start + len(piece) - 1}"},
                body=piece,
                commits=True,
                ok=frozenset({202, 204}),
            )
        )
        response.release()
        self.location = await self.read_location(response)

    async def _received(self, start: int) -> int:
        """How many bytes the registry has of all."""
        response = await self._exchange.call(
            Call(
                method="GET",
                target=self.location,
                doing=self._doing,
                scopes=self._scopes,
                ok=frozenset({204, 202, 200}),
            )
        )
        response.release()
        if response.headers.get("Location"):
            self.location = await self.read_location(response)
        match = _RANGE.fullmatch(response.headers.get("Range", "").strip())
        # "0-0" is what registries say of an empty upload, and of one byte; nobody sends one byte.
        return int(match[1]) + 1 if match and match[1] != "0" else 0


async def _pieces(chunks: AsyncIterable[bytes], size: int) -> AsyncGenerator[bytes, None]:
    """The same bytes in pieces of exactly ``size``, but for the last."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)
