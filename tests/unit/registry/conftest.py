"""A hostile registry, and clients that do not wait long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.hostile_registry import HostileRegistry
from tests.support.patience import FakeClock

from trilby.image.auth import Credentials
from trilby.image.registry.client import RegistryClient
from trilby.image.registry.settings import ClientSettings

QUICK = ClientSettings(
    connect_timeout=2.0,
    progress_timeout=0.15,
    document_timeout=0.4,
    commit_timeout=0.3,
    attempts=3,
    redirects=4,
)

Connect = Callable[..., RegistryClient]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def registry() -> AsyncIterator[HostileRegistry]:
    async with HostileRegistry() as running:
        yield running


@pytest.fixture
async def connect(clock: FakeClock) -> AsyncIterator[Connect]:
    clients: list[RegistryClient] = []

    def make(
        registry: HostileRegistry,
        settings: ClientSettings = QUICK,
        credentials: Credentials | None = None,
        bearer: str = "",
    ) -> RegistryClient:
        client = RegistryClient(
            registry.address,
            insecure=True,
            settings=settings,
            clock=clock.clock,
            credentials=credentials,
            bearer=bearer,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
def client(registry: HostileRegistry, connect: Connect) -> RegistryClient:
    return connect(registry)
