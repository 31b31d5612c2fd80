"""Proxies, and what messages may show."""

from __future__ import annotations

import pytest
from tests.support.hostile_http import Answer, Exchange, RawServer
from tests.support.hostile_registry import HostileRegistry
from tests.support.patience import FakeClock
from tests.unit.registry.conftest import QUICK
from yarl import URL

from trilby.image.context import ImageContext
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.connect import is_insecure, settings_of
from trilby.image.registry.errors import RegistryUnavailable
from trilby.image.registry.http import Http, shown
from trilby.image.registry.settings import ClientSettings


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example,127.0.0.1")
    http = Http(ClientSettings())
    assert http.proxy_for(URL("https://quay.io/v2/")) == "http://proxy.example:3128"
    assert http.proxy_for(URL("http://quay.io/v2/")) is None
    assert http.proxy_for(URL("https://sub.inside.example/")) is None
    assert http.proxy_for(URL("https://127.0.0.1:5000/")) is None


def test_the_callers_proxy_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment:1")
    url = URL("https://quay.io/")
    assert Http(ClientSettings(proxy="http://mine:2")).proxy_for(url) == "http://mine:2"
    assert Http(ClientSettings(proxy="")).proxy_for(url) is None


async def test_through_a_proxy() -> None:
    seen: list[str] = []

    async def proxy(exchange: Exchange) -> bool:
        seen.append(f"{exchange.request.method} {exchange.request.path}")
        if exchange.request.method == "CONNECT":
            await exchange.send(Answer(403, b"no"))
            return False
        await exchange.send(Answer(200, b"{}"))
        return True

    async with RawServer(proxy) as server:
        settings = ClientSettings(proxy=f"http://127.0.0.1:{server.port}", attempts=1)
        async with RegistryClient("far.example", settings=settings) as client:
            with pytest.raises(RegistryUnavailable, match="the proxy answered 403"):
                await client.ping()
        async with RegistryClient("far.example", insecure=True, settings=settings) as client:
            await client.ping()
    assert seen[0].startswith("CONNECT")
    assert seen[-1] == "GET /v2/"


def test_secrets_are_not_shown() -> None:
    url = URL("https://user:secret@cdn.example/blob?X-Signature=secret#secret")
    assert shown(url) == "https://cdn.example/blob"


def test_settings_of_a_context() -> None:
    settings = settings_of(ImageContext(retries=0, retry_delay=2.0, parallel=3, user_agent="x/1"))
    assert (settings.attempts, settings.connect_attempts) == (1, 1)
    assert (settings.backoff_base, settings.connections, settings.user_agent) == (2.0, 6, "x/1")
    assert settings_of(ImageContext()).user_agent == "trilby"


@pytest.mark.parametrize(
    ("tls_verify", "configured", "insecure"),
    [(None, False, False), (None, True, True), (True, True, False), (False, False, True)],
)
def test_insecure(tls_verify: bool | None, configured: bool, insecure: bool) -> None:
    assert is_insecure(ImageContext(tls_verify=tls_verify), configured) is insecure


async def test_connections_are_limited() -> None:
    import asyncio

    import msgspec

    async with HostileRegistry() as registry:
        digest = registry.add_blob(b"x" * 100_000)
        settings = msgspec.structs.replace(QUICK, connections=2)
        async with RegistryClient(
            registry.address, insecure=True, settings=settings, clock=FakeClock().clock
        ) as client:

            async def read() -> int:
                return sum([len(c) async for c in await client.get_blob("a", digest)])

            assert await asyncio.gather(*(read() for _ in range(8))) == [100_000] * 8
        assert registry.connections <= 3
