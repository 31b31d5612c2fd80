"""A place of its own for each test, with an engine over a store that has busybox."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.embedded import Stage
from tests.support.leftovers import nothing_left_behind
from tests.support.pods import Place, own_engine, own_place, store_rootfs

__all__ = ["nothing_left_behind"]


@pytest.fixture
def place() -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="trilby-", dir="/dev/shm"))
    root.chmod(0o711)
    with own_place(root) as place:
        yield place
    shutil.rmtree(root)


@pytest.fixture
async def stage(place: Place, nothing_left_behind: None) -> AsyncIterator[Stage]:
    rootfs = store_rootfs(place)
    async with own_engine(place, rootfs) as engine:
        stage = Stage(place, engine, rootfs.images)
        yield stage
        await stage.close()
    assert rootfs.store.containers() == []
    assert list((place.root / "s" / "trilby" / "pods").iterdir()) == []
    rootfs.store.close()
