"""Requests to one registry: its scheme, getting in, and trying again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
from yarl import URL

from trilby.image.registry.answers import Failure
from trilby.image.registry.errors import (
    NoConnection,
    RegistryError,
    RegistryNotFound,
    RegistryUnavailable,
    TlsFailure,
)
from trilby.image.registry.http import Http, read_limited
from trilby.image.registry.retry import retrying
from trilby.image.registry.settings import ClientSettings, Clock
from trilby.image.registry.tokens import Authenticator, Login, Ticket

if TYPE_CHECKING:
    import aiohttp

    from trilby.image.certs import CertificateFiles

logger = logging.getLogger(__name__)

#: Names under which the one registry that has several is known, and its API's host.
DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
DOCKER_HUB_API = "registry-1.docker.io"

_AUTH_ROUNDS = 3
Body = bytes | Callable[[], AsyncIterable[bytes]] | None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the registry. ``doing`` begins the message of every error."""

    method: str
    #: "/v2/..." or, for a Location, an absolute URL.
    target: str | URL
    doing: str
    scopes: frozenset[str] = frozenset()
    headers: Mapping[str, str] = {}
    body: Body = None
    ok: frozenset[int] = frozenset({200})
    #: What a 404 means.
    unknown: type[RegistryNotFound] = RegistryNotFound
    #: It ends with the registry storing something, which may take long.
    commits: bool = False
    #: May be sent again after a failure that leaves open whether it was done.
    repeatable: bool = True


class Exchange:
    """All traffic with one registry host. Made and used in one event loop."""

    def __init__(
        self,
        registry: str,
        *,
        login: Login,
        insecure: bool,
        tls: CertificateFiles | None,
        settings: ClientSettings,
        clock: Clock,
    ) -> None:
        self.registry = registry
        self.settings = settings
        self.clock = clock
        self._host = DOCKER_HUB_API if registry in DOCKER_HUB else registry
        self._insecure = insecure
        self._http = Http(settings, verify=not insecure, tls=tls)
        self._base: URL | None = None if insecure else URL(f"https://{self._host}")
        self._base_lock = asyncio.Lock()
        self._quiet_until = 0.0
        self._auth = Authenticator(
            registry, login, self._http, settings, clock, secure=not insecure
        )

    async def close(self) -> None:
        await self._http.close()

    async def call(self, call: Call) -> aiohttp.ClientResponse:
        """Send until it succeeds (``call.ok``) or is final; the caller releases the answer."""
        if not call.repeatable:
            return await self.call_once(call)
        return await retrying(lambda: self.call_once(call), self.settings, self.clock)

    async def fetch(self, call: Call, limit: int) -> tuple[bytes, aiohttp.ClientResponse]:
        """Like call(), and reads the body, at most ``limit`` bytes, as part of each attempt."""

        async def once() -> tuple[bytes, aiohttp.ClientResponse]:
            response = await self.call_once(call)
            patience = self.settings.document_timeout
            return await read_limited(response, limit, doing=call.doing, timeout=patience), response

        return await retrying(once, self.settings, self.clock)

    async def call_once(self, call: Call) -> aiohttp.ClientResponse:
        """Send, authenticating where asked, without trying again after failures."""
        await self._keep_quiet()
        response = await self._authenticated(call)
        if response.status in call.ok:
            return response
        failure = await self.failure(response, call.doing)
        self._note_wish(failure)
        raise failure.error(call.doing, call.unknown)

    async def failure(self, response: aiohttp.ClientResponse, doing: str) -> Failure:
        """Read an answer that is no success, and release it."""
        return await Failure.of(
            response, doing=doing, limit=self.settings.error_limit, now=self.clock.now()
        )

    async def resolve(self, target: str | URL, base: URL | None = None) -> URL:
        """The absolute URL of a path of the API, or of a Location relative to ``base``."""
        home = await self._find_base()
        url = (base or home).join(target if isinstance(target, URL) else URL(target, encoded=True))
        if url.scheme == "http" and home.scheme == "https" and url.host == home.host:
            # A registry behind a TLS proxy that was not told so names itself without TLS.
            return url.with_scheme("https")
        return url

    def _note_wish(self, failure: Failure) -> None:
        """A registry that is told too much too fast means all our connections, not only one."""
        wish = failure.retry_after
        if failure.status in (429, 503) and wish and wish <= self.settings.retry_after_max:
            self._quiet_until = max(self._quiet_until, self.clock.now() + wish)

    async def _keep_quiet(self) -> None:
        left = self._quiet_until - self.clock.now()
        if left > 0:
            # Not all at the same moment afterwards.
            await self.clock.sleep(left + self.clock.chance() * min(1.0, left))

    async def _authenticated(self, call: Call) -> aiohttp.ClientResponse:
        url = await self.resolve(call.target)
        home = (await self._find_base()).origin()
        # A Location or a foreign layer's URL may lead to hosts that our credentials do not concern.
        at_home = url.origin() == home
        for remaining in reversed(range(_AUTH_ROUNDS)):
            ticket = await self._auth.ticket(call.scopes, call.doing) if at_home else Ticket(None)
            headers = dict(call.headers)
            if ticket.header is not None:
                headers["Authorization"] = ticket.header
            body = call.body() if callable(call.body) else call.body
            response = await self._http.send(
                call.method,
                url,
                doing=call.doing,
                headers=headers,
                body=body,
                patience=self.settings.commit_timeout if call.commits else None,
            )
            if response.status != 401 or not remaining or callable(call.body):
                break
            if response.url.origin() != home:
                # Whoever we were redirected to may not ask for our password.
                break
            asked = response.headers.getall("WWW-Authenticate", [])
            if not self._auth.learn(asked, call.scopes, ticket):
                break
            response.release()
        return response

    async def _find_base(self) -> URL:
        """The scheme and host; an insecure registry is asked with TLS first, then without."""
        async with self._base_lock:
            if self._base is None:
                self._base = await self._probe()
            return self._base

    async def _probe(self) -> URL:
        secure = URL(f"https://{self._host}")
        try:
            return await self._probe_one(secure)
        except (TlsFailure, NoConnection, RegistryUnavailable) as error:
            first = error
        try:
            return await self._probe_one(secure.with_scheme("http"))
        except RegistryError as error:
            logger.debug("no plain HTTP either: %s", error)
            raise (error if isinstance(first, TlsFailure) else first) from first

    async def _probe_one(self, base: URL) -> URL:
        doing = f"pinging registry {base}"
        response = await self._http.send("GET", base.join(URL("/v2/")), doing=doing)
        response.release()
        return base
