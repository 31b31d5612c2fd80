"""Who joins the hooks while things are being made: nothing is between being told and being seen."""

from __future__ import annotations

import asyncio

from trilby.pods.hooks import HookPoint


async def test_who_joins_waits_for_what_is_being_made_and_holds_up_the_next() -> None:
    point = HookPoint()
    done: list[str] = []
    release = asyncio.Event()

    async def make(name: str) -> None:
        async with point.making():
            done.append(f"{name} begins")
            await release.wait()
            done.append(f"{name} ends")

    async def join() -> None:
        async with point.still():
            done.append("still")
            await asyncio.sleep(0)
            done.append("joined")

    first, second = asyncio.create_task(make("first")), asyncio.create_task(make("second"))
    await asyncio.sleep(0)
    joining = asyncio.create_task(join())
    await asyncio.sleep(0)
    third = asyncio.create_task(make("third"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert done == ["first begins", "second begins"]
    release.set()
    await asyncio.gather(first, second, joining, third)
    assert done[2:] == [
        "first ends", "second ends", "still", "joined", "third begins", "third ends"
    ]  # fmt: skip


async def test_one_joins_after_the_other() -> None:
    point = HookPoint()
    inside = 0

    async def join() -> None:
        nonlocal inside
        async with point.still():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(join() for _ in range(5)))


async def test_who_gives_up_holds_up_nobody() -> None:
    point = HookPoint()
    async with point.making():
        joining = asyncio.create_task(join_and_fail(point))
        await asyncio.sleep(0)
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        async with asyncio.timeout(1), point.making() as hooks:
            assert hooks is None
    async with asyncio.timeout(1), point.still():
        pass


async def join_and_fail(point: HookPoint) -> None:
    async with point.still():
        raise AssertionError("something is being made")
