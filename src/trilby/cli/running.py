"""Ends of commands by signals, so that their clean-up runs: of coroutines, and of plain code."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
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


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end plain code as SIGINT does, by an exception: Terminated.

    A second signal does not interrupt the clean-up. What was ignored before (nohup) still is.
    """
    import signal

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_DFL
    ]

    def terminate(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated

    for number in numbers:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
