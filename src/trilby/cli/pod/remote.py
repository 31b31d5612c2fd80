"""The pods of a daemon, for the pod commands. Volumes and manifests stay under our own root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from trilby.cli.pod.target import Target
from trilby.cri.client.address import socket_path
from trilby.cri.client.engine import RemoteEngine
from trilby.cri.client.images import RemoteImages
from trilby.pods.embedded.listing import PodList

if TYPE_CHECKING:
    from trilby.cli.settings import Settings
    from trilby.image.context import ImageContext


@asynccontextmanager
async def open_remote(
    settings: Settings, host: str, context: ImageContext | None
) -> AsyncIterator[Target]:
    """Raises NoDaemon."""
    async with RemoteEngine(socket_path(host)) as engine:

        async def listing() -> PodList:
            return PodList(settings.engine_config(), await engine.snapshot())

        yield Target(engine, RemoteImages(engine.connection, context), listing)
