"""The image commands with ``--host``: a daemon's images, by the CRI."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from trilby.cli.output import human_size
from trilby.cli.running import run_async
from trilby.cri.client.address import socket_path
from trilby.cri.client.connection import Connection
from trilby.cri.client.images import RemoteImages, summary
from trilby.cri.client.report import Pull, read_status
from trilby.errors import TrilbyError
from trilby.image.errors import ImageInUse, ImageNotFound
from trilby.image.service_types import PulledImage, PullPolicy, Removed

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.image.service_list import ImageSummary

T = TypeVar("T")

#: Seconds between two looks at how far a pull is.
LOOK = 0.25


def list_images(host: str) -> list[ImageSummary]:
    """All images. Raises NoDaemon."""
    return _ask(host, RemoteImages.list)


def pull_images(
    host: str, names: Sequence[str], policy: PullPolicy, context: ImageContext, *, quiet: bool
) -> list[PulledImage]:
    """One after the other, with a line of progress on a terminal."""

    async def pull(images: RemoteImages) -> list[PulledImage]:
        found = []
        for name in names:
            shown = asyncio.ensure_future(_progress(socket_path(host), name, quiet))
            try:
                found.append(await images.pull(name, policy))
            finally:
                shown.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await shown
        return found

    return _ask(host, pull, context)


def remove_images(host: str, names: Sequence[str], *, force: bool, ignore: bool) -> list[Removed]:
    """By name or id; without names all. Raises ImageNotFound, ImageInUse."""

    async def remove(images: RemoteImages) -> list[Removed]:
        found = []
        for name in names or [image.id for image in await images.list()]:
            try:
                image = await images.find(name)
            except ImageNotFound:
                if not ignore:
                    raise
                continue
            tags = tuple(image.repo_tags)
            if len(tags) > 1 and names and not force:
                raise ImageInUse(
                    f"removing {name}: the image has the names {', '.join(tags)}",
                    hint="a daemon removes it with all of them: say --force",
                )
            await images.remove(image.id)
            found.append(Removed(untagged=tags, deleted=image.id))
        return found

    return _ask(host, remove)


def inspect_images(host: str, names: Sequence[str]) -> list[dict[str, object]]:
    """What the CRI tells of images. Raises ImageNotFound."""

    async def inspect(images: RemoteImages) -> list[dict[str, object]]:
        documents = []
        for name in names:
            image, info = await images.details(name)
            short = summary(image)
            documents.append(
                {
                    "Id": short.id,
                    "RepoTags": list(short.names),
                    "RepoDigests": list(short.repo_digests),
                    "Digest": short.digest,
                    "Size": short.size,
                    "User": str(image.uid.value) if image.HasField("uid") else image.username,
                    "Pinned": image.pinned,
                    "Info": info,
                }
            )
        return documents

    return _ask(host, inspect)


def _ask(
    host: str,
    question: Callable[[RemoteImages], Awaitable[T]],
    context: ImageContext | None = None,
) -> T:
    async def ask() -> T:
        async with Connection(socket_path(host)) as connection:
            return await question(RemoteImages(connection, context))

    return run_async(ask())


async def _progress(path: str, name: str, quiet: bool) -> None:
    """How far the daemon is, on stderr; only a line elsewhere than on a terminal."""
    if quiet:
        return
    if not sys.stderr.isatty():
        click.echo(f"Pulling {name}...", err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status(f"Pulling {name}...") as status:
        while True:
            await asyncio.sleep(LOOK)
            try:
                pulls = (await asyncio.to_thread(read_status, path)).pulls
            except TrilbyError:
                await asyncio.Event().wait()  # another runtime: it does not tell
            for pull in pulls:
                if pull.image == name:
                    status.update(f"Pulling {name}: {progress_of(pull)}")


def progress_of(pull: Pull) -> str:
    """``43 %, 120 MB of 300 MB, 12 MB/s, 3 of 7 layers``."""
    return (
        f"{pull.percent:.0f} %, {human_size(pull.bytes)} of {human_size(pull.size)}, "
        f"{human_size(pull.rate)}/s, {pull.layers} of {pull.layers_total} layers"
    )
