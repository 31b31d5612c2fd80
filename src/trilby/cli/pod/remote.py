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


class RemoteTarget(Target):
    """A daemon."""

    def __init__(self, settings: Settings, engine: RemoteEngine, images: RemoteImages) -> None:
        super().__init__(engine, images)
        self._settings = settings
        self._remote = engine

    async def listing(self) -> PodList:
        return PodList(self._settings.engine_config(), await self._remote.snapshot())


@asynccontextmanager
async def open_remote(
    settings: Settings, host: str, context: ImageContext | None
) -> AsyncIterator[RemoteTarget]:
    """Raises NoDaemon."""
    async with RemoteEngine(socket_path(host)) as engine:
        yield RemoteTarget(settings, engine, RemoteImages(engine.connection, context))
