"""One pull for all who ask for the same image at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from trilby.errors import TrilbyError
from trilby.image.context import ImageContext
from trilby.image.copy_errors import (
    CandidatesFailed,
    CandidatesNotFound,
    CandidatesUnauthorized,
)
from trilby.image.errors import ImageNotFound, RegistryUnauthorized, RegistryUnavailable
from trilby.image.progress import CopyStarted, Event, Progress
from trilby.image.reference import Reference
from trilby.image.registries import Registries
from trilby.image.service_find import Found
from trilby.image.service_names import combined_failure
from trilby.image.service_pull import Puller
from trilby.image.service_types import PulledImage
from trilby.oci.digest import Digest

if TYPE_CHECKING:
    from trilby.storage.store import Store

STARTED = CopyStarted("x", Digest.of(b""), "", 1, 1)


def not_here(name: str) -> Found:
    raise ImageNotFound(name)


class SlowPuller(Puller):
    """Pulls nothing, when it is told to."""

    def __init__(self) -> None:
        super().__init__(cast("Store", None), not_here, lambda _: Registries())
        self.pulls: list[str] = []
        self.go = asyncio.Event()
        self.cleaned = 0
        self.failure: TrilbyError | None = None

    async def _pull(
        self, name: str, progress: Progress, context: ImageContext, all_platforms: bool
    ) -> PulledImage:
        self.pulls.append(name)
        progress(STARTED)
        try:
            await self.go.wait()
        finally:
            await asyncio.sleep(0)
            self.cleaned += 1
        if self.failure is not None:
            raise self.failure
        return PulledImage(id="1", name=name, digest="", changed=True)

    def ask(
        self, name: str = "x", context: ImageContext | None = None, progress: Progress | None = None
    ) -> asyncio.Task[PulledImage]:
        work = self.pull(name, "missing", progress, context or ImageContext())
        return asyncio.ensure_future(work)


async def settled(puller: SlowPuller, pulls: int) -> None:
    async with asyncio.timeout(5):
        while len(puller.pulls) < pulls:  # noqa: ASYNC110 - threads look for local images first
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0.001)


async def test_many_ask_and_one_pulls() -> None:
    puller = SlowPuller()
    seen: list[list[Event]] = [[] for _ in range(5)]
    tasks = [puller.ask(progress=events.append) for events in seen]
    await settled(puller, 1)
    puller.go.set()
    assert len({(await task).name for task in tasks}) == 1
    assert puller.pulls == ["x"] and seen == [[STARTED]] * 5


async def test_other_names_and_other_credentials_are_other_pulls() -> None:
    puller = SlowPuller()
    tasks = [
        puller.ask("x"),
        puller.ask("y"),
        puller.ask("x", ImageContext(credentials=("user", "secret"))),
    ]
    puller.go.set()
    await asyncio.gather(*tasks)
    assert len(puller.pulls) == 3


async def test_a_failure_is_everybodys() -> None:
    puller = SlowPuller()
    puller.failure = ImageNotFound("gone")
    tasks = [puller.ask() for _ in range(3)]
    await settled(puller, 1)
    puller.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [puller.failure] * 3
    puller.failure = None
    assert (await puller.ask()).id == "1"
    assert len(puller.pulls) == 2


async def test_the_last_who_waits_ends_it() -> None:
    puller = SlowPuller()
    first, second = puller.ask(), puller.ask()
    await settled(puller, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert puller.cleaned == 0
    second.cancel()
    await asyncio.sleep(0)
    late = puller.ask()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert puller.cleaned == 1
    puller.go.set()
    assert (await late).id == "1"
    assert puller.pulls == ["x", "x"]


async def test_a_listener_that_fails_harms_nobody() -> None:
    puller = SlowPuller()
    puller.go.set()
    seen: list[Event] = []

    def broken(_event: Event) -> None:
        raise RuntimeError("broken")

    results = await asyncio.gather(
        puller.ask(progress=broken), puller.ask(progress=seen.append), return_exceptions=True
    )
    assert [type(result) for result in results] == [PulledImage] * 2 and seen == [STARTED]


def test_combined_failures() -> None:
    one, two = Reference.parse("one.example/x:1"), Reference.parse("two.example/x:1")
    missing, secret, down = (
        ImageNotFound("manifest unknown"),
        RegistryUnauthorized("unauthorized"),
        RegistryUnavailable("connection refused"),
    )
    for errors, kind in (
        ((missing, missing), CandidatesNotFound),
        ((missing, secret), CandidatesUnauthorized),
        ((secret, down), CandidatesFailed),
    ):
        combined = combined_failure("x:1", list(zip((one, two), errors, strict=True)))
        assert type(combined) is kind
        for reference, error in zip((one, two), errors, strict=True):
            assert f"{reference}: {error.message}" in combined.message
