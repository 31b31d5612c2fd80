"""Process exits, file events and event counters on a loop."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from trilby.system.events import (
    IN_CREATE,
    IN_DELETE_SELF,
    EventFd,
    FileEvent,
    Inotify,
    exited,
    wait_pidfd,
)
from trilby.system.process import aspawn


async def test_several_tasks_wait_for_one_exit() -> None:
    gate, release = os.pipe()
    process = await aspawn(["cat"], stdin=gate)
    os.close(gate)
    pidfd = os.pidfd_open(process.pid)
    assert not exited(pidfd)
    assert not await wait_pidfd(pidfd, timeout=0.01)
    waiters = [asyncio.create_task(wait_pidfd(pidfd)) for _ in range(3)]
    cancelled = asyncio.create_task(wait_pidfd(pidfd))
    await asyncio.sleep(0)
    cancelled.cancel()
    os.close(release)
    assert await asyncio.gather(*waiters) == [True, True, True]
    assert await wait_pidfd(pidfd)
    os.close(pidfd)
    assert await process.wait() == 0


async def test_complete_files_are_told_in_order(tmp_path: Path) -> None:
    with Inotify([tmp_path]) as events:
        (tmp_path / "one").write_text("1")
        (tmp_path / ".two").write_text("2")
        (tmp_path / ".two").rename(tmp_path / "two")
        (tmp_path / "sub").mkdir()
        found = [await anext(events) for _ in range(3)]
        assert [event.name for event in found] == ["one", ".two", "two"]
        assert {event.path for event in found} == {str(tmp_path)}
        (tmp_path / "three").write_text("3")
        assert (await anext(events)).name == "three"


async def test_closing_ends_the_iteration(tmp_path: Path) -> None:
    events = Inotify([tmp_path])
    seen: list[FileEvent] = []

    async def collect() -> None:
        async for event in events:
            seen.append(event)

    task = asyncio.create_task(collect())
    (tmp_path / "one").write_text("1")
    await asyncio.sleep(0)
    while not seen:  # noqa: ASYNC110 - the loop has to turn until the event is through
        await asyncio.sleep(0)
    events.close()
    events.close()
    await task
    assert [event.name for event in seen] == ["one"]


async def test_a_removed_directory_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    with Inotify([folder], IN_CREATE | IN_DELETE_SELF) as events:
        folder.rmdir()
        assert (await anext(events)).removed


def test_without_a_loop(tmp_path: Path) -> None:
    with Inotify() as events:
        assert events.read_now() == []
        events.add(tmp_path)
        (tmp_path / os.fsdecode(b"\xff")).write_text("x")
        assert [event.name for event in events.read_now()] == [os.fsdecode(b"\xff")]
        events.remove(tmp_path)
        (tmp_path / "later").write_text("x")
        assert events.read_now() == []
        with pytest.raises(FileNotFoundError):
            events.add(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        Inotify([tmp_path / "missing"])


async def test_event_counters() -> None:
    event = EventFd()
    try:
        assert event.take() == 0
        waiter = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        os.eventfd_write(event.fileno(), 3)
        assert await waiter == 3
        os.eventfd_write(event.fileno(), 2)
        assert event.take() == 2
    finally:
        event.close()
