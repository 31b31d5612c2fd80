"""A blob on its way from a registry: chunks, resumed after drops, checked at the end."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import aiohttp

from trilby.image.registry.errors import (
    BadResponse,
    ContentMismatch,
    RegistryError,
    RegistryUnavailable,
)
from trilby.image.registry.http import translate
from trilby.image.registry.retry import Backoff
from trilby.image.registry.settings import ClientSettings, Clock
from trilby.oci.digest import Digest

logger = logging.getLogger(__name__)

_CONTENT_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)

#: Asks for the blob from this offset on; the answer is 200 or 206, 416 only if offset is not 0.
Opener = Callable[[int], Awaitable[aiohttp.ClientResponse]]


class Blob:
    """The bytes of one blob; iterate once. ``size`` is -1 if nobody said.

    A dropped or stalled connection is resumed where it stopped. Iterating raises ContentMismatch
    if there are more or fewer bytes than ``size`` or, with ``verify``, if the digest is another;
    RegistryUnavailable when patience is used up. ``verified`` tells that everything was read and
    was right (``verify`` False: the length only, the digest is then the consumer's to check).
    ``fallbacks`` give openers of other places that have the same blob: the rest is read from the
    next of them when patience with one is used up.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        digest: Digest,
        size: int,
        verify: bool,
        doing: str,
        settings: ClientSettings,
        clock: Clock,
    ) -> None:
        self.digest = digest
        self.size = size
        self.verified = False
        self.resumed = 0
        self.fallbacks: list[Callable[[], Awaitable[Opener]]] = []
        self._opener = opener
        self._hasher = digest.hasher() if verify else None
        self._doing = doing
        self._settings = settings
        self._backoff = Backoff(settings, clock)
        self._response: aiohttp.ClientResponse | None = None
        self._iterator: AsyncGenerator[bytes, None] | None = None
        self._offset = 0
        self._resumed_at = 0
        self._pending = b""
        self._time = asyncio.get_running_loop().time
        self._open_window()

    async def open(self) -> Blob:
        """Send the first request, so that a missing blob is known before anyone reads it."""
        self._response = await self._opener(0)
        self._open_window()
        announced = _announced(self._response)
        if self.size < 0:
            self.size = announced
        elif announced >= 0 and announced != self.size:
            await self.close()
            raise ContentMismatch(
                f"{self._doing}: the registry announces {announced} bytes, "
                f"but it should have {self.size}"
            )
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._iterator is None:
            self._iterator = self._chunks()
        return self._iterator

    async def close(self) -> None:
        """End it, early or late; a half-read connection is closed. May be called again."""
        response, self._response = self._response, None
        if response is not None:
            if response.content.is_eof():
                response.release()
            else:
                response.close()
        if self._iterator is not None:
            await self._iterator.aclose()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                try:
                    chunk = await self._next_chunk()
                except RegistryError as error:
                    if self._offset == self.size:
                        # Only the end of the answer is missing, not a byte of the blob.
                        break
                    await self._resume(error)
                    continue
                if chunk:
                    yield chunk
                elif self._complete():
                    break
                else:
                    await self._resume(self._ended_early())
            self._check_digest()
        finally:
            self._drop_response()

    async def _next_chunk(self) -> bytes:
        """What came, b"" at the end of this connection's answer."""
        response = self._response
        if response is None:
            raise BadResponse(f"{self._doing}: the blob is closed")
        chunk, self._pending = self._pending, b""
        if not chunk:
            self._check_speed()
            start = self._time()
            try:
                chunk = await response.content.readany()
            except (aiohttp.ClientError, OSError, ValueError, EOFError) as error:
                raise translate(error, self._doing, response.url) from error
            self._waited += self._time() - start
        self._offset += len(chunk)
        if 0 <= self.size < self._offset:
            raise ContentMismatch(
                f"{self._doing}: more than the {self.size} bytes that it should have"
            )
        if self._hasher is not None:
            self._hasher.update(chunk)
        return chunk

    def _check_speed(self) -> None:
        """Refuse a server that drips: each byte would postpone aiohttp's own time-out.

        Only time spent waiting for the server counts; a consumer may be as slow as it likes.
        """
        if self._waited < self._settings.progress_timeout:
            return
        length = self._offset - self._window_offset
        self._open_window()
        if length < self._settings.progress_bytes:
            raise RegistryUnavailable(
                f"{self._doing}: only {length} bytes came in "
                f"{self._settings.progress_timeout:g} seconds",
                transient=True,
            )

    def _open_window(self) -> None:
        self._waited = 0.0
        self._window_offset = self._offset

    def _ended_early(self) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"{self._doing}: the connection ended after {self._offset} of {self.size} bytes",
            transient=True,
        )

    def _complete(self) -> bool:
        if self.size < 0:
            # Nobody said how long it is: the end of the stream is the end.
            return True
        return self._offset == self.size

    def _check_digest(self) -> None:
        if self._hasher is not None:
            found = Digest.from_hasher(self._hasher)
            if found != self.digest:
                raise ContentMismatch(
                    f"{self._doing}: the bytes that came have the digest {found}",
                    hint="the registry's copy or a proxy on the way is damaged",
                )
        self.verified = True

    async def _resume(self, error: RegistryError) -> None:
        """Wait and ask for the rest, until there is an answer or no patience."""
        self._drop_response()
        if self._offset - self._resumed_at >= self._settings.resume_progress:
            self._backoff.reset()
        self._resumed_at = self._offset
        while True:
            await self._wait_or_change_place(error)
            logger.info("%s: resuming at byte %d", self._doing, self._offset)
            try:
                self._response = await self._opener(self._offset)
                await self._skip_to_offset(self._response)
            except RegistryError as failure:
                self._drop_response()
                error = failure
                continue
            self.resumed += 1
            self._open_window()
            return

    async def _wait_or_change_place(self, error: RegistryError) -> None:
        try:
            await self._backoff.wait(error)
        except ContentMismatch:
            raise
        except RegistryError as final:
            if not self.fallbacks:
                raise
            logger.info("%s; reading the rest elsewhere", final)
            self._opener = await self.fallbacks.pop(0)()
            self._backoff.reset()

    async def _skip_to_offset(self, response: aiohttp.ClientResponse) -> None:
        """Place ``response`` at our offset; a server without ranges sends everything again."""
        if response.status == 206:
            match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != self._offset:
                raise BadResponse(
                    f"{self._doing}: asked for the rest from byte {self._offset}, got "
                    f"{response.headers.get('Content-Range') or 'no Content-Range'}"
                )
            return
        left = self._offset
        try:
            while left and (chunk := await response.content.readany()):
                self._pending = chunk[left:]
                left -= min(left, len(chunk))
        except (aiohttp.ClientError, OSError, ValueError, EOFError) as error:
            raise translate(error, self._doing, response.url) from error

    def _drop_response(self) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        if response.content.is_eof():
            response.release()
        else:
            response.close()


def _announced(response: aiohttp.ClientResponse) -> int:
    """Content-Length of a whole blob, -1 if there is none."""
    length = response.content_length
    return -1 if length is None or response.status != 200 else length
