"""An engine with one running container, and a streaming server on top of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.integration.pods.conftest import engine, nothing_left_behind, place
from tests.support.pods import busybox, pod

from trilby.cri.streaming.server import StreamingServer
from trilby.cri.streaming.settings import StreamingSettings
from trilby.pods.engine import Engine

__all__ = ["engine", "nothing_left_behind", "place"]


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[StreamingServer]:
    server = StreamingServer(engine, StreamingSettings())
    await server.start()
    yield server
    await server.close()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "streaming-client"] == []


@pytest.fixture
async def sandbox(engine: Engine) -> str:
    return await engine.run_sandbox(pod())


@pytest.fixture
async def container(engine: Engine, sandbox: str) -> str:
    container = await engine.create_container(sandbox, busybox())
    await engine.start_container(container)
    return container
