"""A clock for registry clients in tests: nobody really waits."""

from __future__ import annotations

import asyncio

from trilby.image.registry.settings import Clock


class FakeClock:
    """``slept`` are the waits asked for; time moves by them."""

    def __init__(self, chance: float = 0.0, now: float = 1_700_000_000.0) -> None:
        self.slept: list[float] = []
        self.time = now
        self.clock = Clock(now=lambda: self.time, sleep=self._sleep, chance=lambda: chance)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)
