"""Where the pods are that a command is about: under this process' roots, or a daemon's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trilby.cli.settings import Settings
    from trilby.image.context import ImageContext
    from trilby.pods.embedded.api import PodEngine, PodImages
    from trilby.pods.embedded.listing import PodList


class Target:
    """An engine and its images. ``listing()`` asks anew each time."""

    def __init__(
        self, engine: PodEngine, images: PodImages, listing: Callable[[], Awaitable[PodList]]
    ) -> None:
        self.engine = engine
        self.images = images
        self.listing = listing


def pods_of(settings: Settings, host: str) -> PodList:
    """The pods as they are now, for commands that only look."""
    if not host:
        from trilby.pods.embedded.listing import PodList

        return PodList(settings.engine_config())
    from trilby.cli.running import run_async

    return run_async(_look(settings, host))


async def _look(settings: Settings, host: str) -> PodList:
    async with open_target(settings, host) as target:
        return await target.listing()


@asynccontextmanager
async def open_target(
    settings: Settings,
    host: str,
    context: ImageContext | None = None,
    *,
    recover: bool = False,
) -> AsyncIterator[Target]:
    """This process' engine, or the daemon at ``host``. Raises NoDaemon."""
    if host:
        from trilby.cli.pod.remote import open_remote

        async with open_remote(settings, host, context) as target:
            yield target
        return
    from trilby.pods.embedded.listing import PodList

    async def listing() -> PodList:
        return PodList(settings.engine_config())

    with settings.images(context, recover=recover) as images:
        async with settings.engine(images, recover=recover) as engine:
            yield Target(engine, images, listing)
