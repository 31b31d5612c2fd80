"""Who begins first, when many pods are begun at once.

A kubelet that has a hundred pods to start asks for all their sandboxes together. Made all at once
they would end all at once, and no container of any would run before: so a few are made at a time,
in the order in which they were asked for, and the containers of those that are there do not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

__all__ = ["Turns"]

#: More than processors, for whoever makes a sandbox waits for programs and for the kernel.
EACH_PROCESSOR = 2
#: A turn that takes longer waits for something outside, as a network that is not there yet, which
#: may be what the pods behind it bring.
LONGEST = 2.0


class Turns:
    """At most ``limit`` turns at a time, first come, first served; none counts for more than
    ``longest`` seconds."""

    def __init__(self, limit: int = 0, longest: float = LONGEST) -> None:
        self._free = asyncio.Semaphore(
            limit or EACH_PROCESSOR * max(2, len(os.sched_getaffinity(0)))
        )
        self._longest = longest

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        await self._free.acquire()
        held = [True]

        def give_back() -> None:
            if held:
                held.clear()
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._longest, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()
