"""Turns: a few at a time, in order, and none for ever."""

from __future__ import annotations

import asyncio

import pytest

from trilby.cri.turns import Turns


async def test_a_few_at_a_time_in_the_order_of_asking() -> None:
    turns = Turns(limit=2)
    begun: list[int] = []
    most = now = 0

    async def one(number: int) -> None:
        nonlocal most, now
        async with turns.turn():
            begun.append(number)
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1

    await asyncio.gather(*map(one, range(20)))
    assert begun == list(range(20))
    assert most == 2


async def test_a_turn_that_takes_too_long_counts_no_more() -> None:
    turns = Turns(limit=1, longest=0.01)
    hung = asyncio.Event()
    began = asyncio.Event()

    async def waits_outside() -> None:
        async with turns.turn():
            began.set()
            await hung.wait()

    task = asyncio.create_task(waits_outside())
    await began.wait()
    async with asyncio.timeout(10), turns.turn():
        pass
    hung.set()
    await task
    # It was given back once: still one at a time.
    turns._longest = 60
    async with turns.turn():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001), turns.turn():
                pass


async def test_a_turn_that_fails_or_is_cancelled_is_given_back() -> None:
    turns = Turns(limit=1, longest=60)
    with pytest.raises(ValueError, match="no such pod"):
        async with turns.turn():
            raise ValueError("no such pod")

    async def has_it() -> None:
        async with turns.turn():
            await asyncio.Event().wait()

    task = asyncio.create_task(has_it())
    await asyncio.sleep(0)
    waits = asyncio.create_task(has_it())
    await asyncio.sleep(0)
    for each in (waits, task):
        each.cancel()
    await asyncio.wait([task, waits])
    async with asyncio.timeout(10), turns.turn():
        pass
