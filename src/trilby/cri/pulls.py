"""Pulls for the kubelet: whose policy and credentials count, and what is under way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from trilby.cri.errors import PullStalled
from trilby.image.context import ImageContext
from trilby.image.progress import (
    BlobDone,
    BlobProgress,
    BlobStarted,
    CopyStarted,
    Event,
)
from trilby.image.service import Images


class PullObserver(Protocol):
    """Who counts pulls: metrics."""

    def pull_done(self, name: str, size: int, *, skipped: int) -> None: ...

    def pull_failed(self, name: str, error: BaseException) -> None: ...

    def layer_done(self, size: int, *, reused: bool) -> None: ...


class PullState(msgspec.Struct):
    """A pull under way; bytes are compressed ones. ``layers`` counts those that are done."""

    name: str
    started: float
    size: int = 0
    done: int = 0
    reused: int = 0
    layers: int = 0
    layers_total: int = 0

    @property
    def percent(self) -> float:
        return 100 * min(self.done / self.size, 1) if self.size else 0.0

    @property
    def rate(self) -> float:
        """Bytes in a second, reused ones apart."""
        seconds = time.monotonic() - self.started
        return (self.done - self.reused) / seconds if seconds > 0 else 0.0


class Pulls:
    """``policy_dir`` has policies of namespaces, ``<namespace>.json``.

    ``stall_timeout`` in seconds: a pull that got nothing for so long is given up; 0 is never.
    ``parallel`` images are pulled at the same time; 0 is any number.
    """

    def __init__(
        self,
        images: Images,
        context: ImageContext,
        *,
        policy_dir: str = "",
        stall_timeout: float = 0,
        parallel: int = 0,
        observer: PullObserver | None = None,
    ) -> None:
        self._images = images
        self._context = context
        self._policy_dir = policy_dir
        self._stall_timeout = stall_timeout
        self._turns = _turns(parallel)
        self._observer = observer
        self._running: dict[int, PullState] = {}
        self._numbers = itertools.count()

    def context(self, namespace: str) -> ImageContext:
        """The settings for a pod of that namespace; its own policy wins over the host's."""
        if self._policy_dir and namespace and "/" not in namespace:
            policy = f"{self._policy_dir}/{namespace}.json"
            if os.path.exists(policy):
                return self._context.with_changes(policy_path=policy)
        return self._context

    def replace(
        self, context: ImageContext, *, policy_dir: str, stall_timeout: float, parallel: int
    ) -> None:
        """Settings for the pulls that begin from now on."""
        self._context = context
        self._policy_dir = policy_dir
        self._stall_timeout = stall_timeout
        self._turns = _turns(parallel)

    def running(self) -> list[PullState]:
        """What is under way, the oldest first."""
        return list(self._running.values())

    async def pull(self, name: str, context: ImageContext) -> str:
        """The image's id, when it is in the store. Raises ImageError kinds, PullStalled."""
        number = next(self._numbers)
        state = self._running[number] = PullState(name=name, started=time.monotonic())
        moved = asyncio.Event()
        try:
            async with self._turns:
                pulled = await self._watched(
                    name, context, _progress(state, moved, self._observer), moved
                )
        except Exception as error:
            if self._observer is not None:
                self._observer.pull_failed(name, error)
            raise
        finally:
            del self._running[number]
        if self._observer is not None:
            self._observer.pull_done(name, state.size, skipped=state.reused)
        return pulled

    async def _watched(
        self,
        name: str,
        context: ImageContext,
        progress: Callable[[Event], None],
        moved: asyncio.Event,
    ) -> str:
        # "always": the kubelet decides whether a pull is due, and asks only then.
        task = asyncio.ensure_future(
            self._images.pull(name, "always", progress=progress, context=context)
        )
        watch = asyncio.ensure_future(_stalled(moved, self._stall_timeout))
        try:
            await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise PullStalled(
                    f"pulling {name}: nothing came for {self._stall_timeout:.0f} seconds",
                    hint="look at the registry, or raise pull_progress_timeout",
                )
            return (await task).id
        finally:
            watch.cancel()
            task.cancel()
            await asyncio.gather(watch, task, return_exceptions=True)


def _turns(parallel: int) -> contextlib.AbstractAsyncContextManager[object]:
    return asyncio.Semaphore(parallel) if parallel else contextlib.nullcontext()


async def _stalled(moved: asyncio.Event, seconds: float) -> None:
    """Return when nothing moved for so long; never for 0."""
    if seconds <= 0:
        await asyncio.Event().wait()
    while True:
        moved.clear()
        try:
            await asyncio.wait_for(moved.wait(), seconds)
        except TimeoutError:
            return


def _progress(
    state: PullState, moved: asyncio.Event, observer: PullObserver | None
) -> Callable[[Event], None]:
    done: dict[str, int] = {}

    def update(event: Event) -> None:
        moved.set()
        match event:
            case CopyStarted():
                state.size += event.size
                state.layers_total += event.blobs
            case BlobStarted():
                done[str(event.digest)] = 0
            case BlobProgress():
                state.done += event.done - done.get(str(event.digest), 0)
                done[str(event.digest)] = event.done
            case BlobDone():
                size = max(event.size, 0)
                state.done += size - done.pop(str(event.digest), 0)
                state.layers += 1
                if event.reused:
                    state.reused += size
                if observer is not None:
                    observer.layer_done(size, reused=event.reused)
            case _:
                pass

    return update
