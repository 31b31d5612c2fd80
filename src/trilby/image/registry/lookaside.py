"""GET for signature servers (registries.d's lookaside): a small body, or None for 404."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yarl import URL

from trilby.image.registry.answers import Failure
from trilby.image.registry.errors import RegistryError
from trilby.image.registry.http import Http, read_limited, shown
from trilby.image.registry.retry import retrying
from trilby.image.registry.settings import ClientSettings, Clock

if TYPE_CHECKING:
    from types import TracebackType

    from trilby.image.certs import CertificateFiles


class SignatureFetcher:
    """``await fetcher(url)`` is the callable that trilby.image.registriesd wants.

    No credentials are ever sent. Raises this room's errors for anything but 200 and 404.
    """

    def __init__(
        self,
        *,
        insecure: bool = False,
        tls: CertificateFiles | None = None,
        settings: ClientSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings or ClientSettings()
        self._clock = clock or Clock()
        self._http = Http(self._settings, verify=not insecure, tls=tls)

    async def __aenter__(self) -> SignatureFetcher:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def __call__(self, url: str) -> bytes | None:
        return await retrying(lambda: self._get(URL(url)), self._settings, self._clock)

    async def _get(self, url: URL) -> bytes | None:
        doing = f"reading signature {shown(url)}"
        settings = self._settings
        response = await self._http.send("GET", url, doing=doing)
        if response.status == 404:
            response.release()
            return None
        if response.status != 200:
            failure = await Failure.of(
                response, doing=doing, limit=settings.error_limit, now=self._clock.now()
            )
            error: RegistryError = failure.error(doing)
            raise error
        return await read_limited(
            response, settings.signature_limit, doing=doing, timeout=settings.document_timeout
        )
