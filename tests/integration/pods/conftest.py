"""A place and an engine of its own for each test; what a test leaves behind fails it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.leftovers import nothing_left_behind
from tests.support.pods import Place, own_engine, own_place, store_rootfs

from trilby.pods.engine import Engine

__all__ = ["nothing_left_behind"]


@pytest.fixture
def place() -> Iterator[Place]:
    # On tmpfs: the root file system of test machines can be slow to make files.
    root = Path(tempfile.mkdtemp(prefix="trilby-", dir="/dev/shm"))
    root.chmod(0o711)  # for ids of user namespaces
    with own_place(root) as place:
        yield place
    shutil.rmtree(root)


@pytest.fixture
async def engine(place: Place, nothing_left_behind: None) -> AsyncIterator[Engine]:
    async with own_engine(place) as engine:
        yield engine


@pytest.fixture
async def store_engine(place: Place, nothing_left_behind: None) -> AsyncIterator[Engine]:
    """Containers' root file systems come from a store."""
    rootfs = store_rootfs(place)
    async with own_engine(place, rootfs) as engine:
        yield engine
    assert rootfs.store.containers() == []
    rootfs.store.close()
