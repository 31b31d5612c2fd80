"""Stores of their own for each test; what they leave mounted fails the test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.store import Peers, wait_for_users

from trilby.system.mounts import list_mounts, unmount_tree


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a name short enough for podman, which refuses long run roots.

    In memory where possible: disks differ too much for the time that a test may take.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="trilby-", dir=memory))
    yield path
    wait_for_users(path)
    left = [entry.target for entry in list_mounts(path)]
    unmount_tree(path)
    shutil.rmtree(path)
    # podman leaves an overlay home mounted on purpose; anything else was forgotten.
    assert [target for target in left if not target.endswith("/graph/overlay")] == []


@pytest.fixture
def peers(short_path: Path) -> Peers:
    """podman and skopeo on an overlay store of their own."""
    if os.geteuid() != 0:
        pytest.skip("overlay mounts need root")
    return Peers(short_path)
