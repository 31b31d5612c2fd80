"""Work that must not be left half-done when the caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


async def finish(work: Coroutine[object, object, T]) -> T:
    """Await ``work`` to its end, however often the caller is cancelled; then be cancelled.

    asyncio.shield() alone lets the caller go on, and release its locks, while the work still runs.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # the cancellation is what the caller gets to know
        raise cancelled
    return task.result()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """asyncio.to_thread() that a cancellation waits for: threads cannot be stopped."""
    return await finish(asyncio.to_thread(function, *args, **kwargs))
