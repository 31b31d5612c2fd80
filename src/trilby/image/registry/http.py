"""One aiohttp session, and what can go wrong with it in this room's errors."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterable, Mapping

import aiohttp
from yarl import URL

from trilby.image.certs import CertificateFiles
from trilby.image.registry.errors import (
    BadResponse,
    NoConnection,
    RegistryError,
    RegistryUnavailable,
    TooLarge,
)
from trilby.image.registry.settings import ClientSettings
from trilby.image.registry.tls import handshake_failure, make_context

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Headers that say who we are stay on the host that they are for.
_PRIVATE = frozenset({"authorization", "cookie", "proxy-authorization"})


class Http:
    """Sends requests of one pull to one registry and wherever it redirects to.

    Make and close it in the event loop. Answers are aiohttp's; the caller releases them.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        verify: bool = True,
        tls: CertificateFiles | None = None,
    ) -> None:
        self._settings = settings
        self._verify = verify
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._proxies = (
            {} if settings.proxy is not None else urllib.request.getproxies_environment()
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=_connector(settings, self._tls, verify=self._verify),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=settings.read_buffer,
                auto_decompress=False,
                headers={"User-Agent": settings.user_agent, "Accept-Encoding": "identity"},
            )
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self,
        method: str,
        url: URL,
        *,
        doing: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] | None = None,
        patience: float | None = None,
    ) -> aiohttp.ClientResponse:
        """One request and its answer's headers, after redirects (only GET and HEAD follow any).

        ``patience``: seconds to wait for an answer in place of the settings' progress_timeout.
        Raises NoConnection, TlsFailure, RegistryUnavailable or BadResponse, never aiohttp's own.
        """
        private = dict(headers or {})
        home = url.origin()
        seen = {url}
        while True:
            response = await self._send_once(method, url, doing, private, body, patience)
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return response
            location = response.headers.get("Location", "")
            response.release()
            url = self._redirected(url, location, doing, len(seen))
            if url in seen:
                raise BadResponse(f"{doing}: circular redirect to {shown(url)}")
            seen.add(url)
            if url.origin() != home:
                private = {k: v for k, v in private.items() if k.lower() not in _PRIVATE}

    def _redirected(self, url: URL, location: str, doing: str, count: int) -> URL:
        if count > self._settings.redirects:
            raise BadResponse(f"{doing}: more than {self._settings.redirects} redirects")
        try:
            target = url.join(URL(location, encoded=True))
        except ValueError:
            target = URL()
        if not location or target.scheme not in ("http", "https") or not target.host:
            raise BadResponse(f"{doing}: redirected by {shown(url)} to no usable place")
        if url.scheme == "https" and target.scheme == "http" and self._verify:
            raise BadResponse(f"{doing}: redirected from https to http, {shown(target)}")
        return target

    async def _send_once(
        self,
        method: str,
        url: URL,
        doing: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None,
        patience: float | None,
    ) -> aiohttp.ClientResponse:
        connecting = self._settings.connect_timeout
        silence = patience or self._settings.progress_timeout
        # A body takes its time; headers alone must come soon, also from one who drips them.
        in_all = connecting + silence if body is None else None
        try:
            async with asyncio.timeout(in_all):
                return await self._open_session().request(
                    method,
                    url,
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    proxy=self.proxy_for(url),
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=connecting, sock_read=silence
                    ),
                )
        except (aiohttp.ClientError, OSError, ValueError, EOFError) as error:
            raise translate(error, doing, url) from error

    def proxy_for(self, url: URL) -> str | None:
        """The proxy's URL for this request, None for none."""
        if self._settings.proxy is not None:
            return self._settings.proxy or None
        proxy = self._proxies.get(url.scheme)
        if not proxy or not url.host or urllib.request.proxy_bypass(url.host):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


def _connector(
    settings: ClientSettings, tls: CertificateFiles | None, *, verify: bool
) -> aiohttp.TCPConnector:
    context = make_context(tls or CertificateFiles(), verify=verify)
    if context is True:
        return aiohttp.TCPConnector(limit=0, limit_per_host=settings.connections)
    return aiohttp.TCPConnector(limit=0, limit_per_host=settings.connections, ssl=context)


async def read_limited(
    response: aiohttp.ClientResponse, limit: int, *, doing: str, timeout: float | None = None
) -> bytes:
    """The whole body, at most ``limit`` bytes; releases the answer. Raises TooLarge."""
    if (response.content_length or 0) > limit:
        response.close()
        raise TooLarge(f"{doing}: {response.content_length} bytes, at most {limit} are allowed")
    chunks: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(timeout):
            while chunk := await response.content.readany():
                chunks.append(chunk)
                length += len(chunk)
                if length > limit:
                    raise TooLarge(f"{doing}: more than {limit} bytes")
    except (aiohttp.ClientError, OSError, ValueError, EOFError) as error:
        raise translate(error, doing, response.url) from error
    finally:
        if response.content.is_eof():
            response.release()
        else:
            response.close()
    return b"".join(chunks)


def shown(url: URL) -> str:
    """A URL for messages: without user, password and query, where signatures and tokens hide."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def translate(error: Exception, doing: str, url: URL) -> RegistryError:
    """aiohttp's and the system's exceptions in this room's words."""
    host = f"{url.host}:{url.port}" if url.port and not url.is_default_port() else str(url.host)
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        cause = getattr(error, "os_error", error)
        if isinstance(cause, ConnectionError):
            words = f"{_reason(cause)} in the TLS handshake"
            return NoConnection(f"{doing}: {host}: {words}", transient=True)
        return handshake_failure(doing, host, error)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return NoConnection(f"{doing}: no connection to the proxy: {error}", transient=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _unconnected(error.os_error, doing, host)
    if isinstance(error, TimeoutError):
        if isinstance(error, aiohttp.ServerTimeoutError) and "onnect" in str(error):
            return NoConnection(f"{doing}: {host}: connection timed out", transient=True)
        return RegistryUnavailable(f"{doing}: {host}: timed out, nothing came", transient=True)
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | EOFError):
        return RegistryUnavailable(f"{doing}: {host}: the connection was dropped", transient=True)
    if isinstance(error, OSError):
        return RegistryUnavailable(f"{doing}: {host}: {_reason(error)}", transient=True)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return RegistryUnavailable(f"{doing}: the proxy answered {error.status} {error.message}")
    words = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    first_line = words.strip().partition("\n")[0].rstrip(":") or "not HTTP"
    return BadResponse(f"{doing}: {host} did not answer as an HTTP server should: {first_line}")


def _unconnected(error: OSError, doing: str, host: str) -> RegistryError:
    if isinstance(error, socket.gaierror):
        again = error.errno == socket.EAI_AGAIN
        words = "name server failure" if again else "no such host"
        return NoConnection(
            f"{doing}: {host}: {words}",
            hint="" if again else "check the registry's name and the resolver",
            transient=again,
        )
    transient = error.errno not in (errno.EACCES, errno.EPERM)
    return NoConnection(f"{doing}: {host}: {_reason(error)}", transient=transient)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        # aiohttp words its own strerror; the system's is what people know.
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
