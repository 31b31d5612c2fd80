"""Run a command's coroutine: SIGINT and SIGTERM cancel it, so that its clean-up runs."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


class Terminated(Exception):
    """SIGTERM came; what was under way has been cancelled and cleaned up."""


def run_async(work: Coroutine[object, object, T]) -> T:
    """The result of ``work``.

    Raises:
        KeyboardInterrupt: SIGINT came (asyncio cancels the work first).
        Terminated: SIGTERM came.
    """
    import asyncio
    import signal

    terminated = False

    async def supervised() -> T:
        nonlocal terminated
        task = asyncio.ensure_future(work)

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        try:
            return await task
        except asyncio.CancelledError:
            task.cancel()
            raise

    try:
        return asyncio.run(supervised())
    except asyncio.CancelledError:
        if terminated:
            raise Terminated from None
        raise KeyboardInterrupt from None
