"""A daemon of its own for each test; what a test leaves behind fails it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.daemon import DaemonProcess, own_daemon
from tests.support.leftovers import nothing_left_behind
from tests.support.pods import Place, own_place

__all__ = ["nothing_left_behind"]


@pytest.fixture
def place() -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="trilby-", dir="/dev/shm"))
    root.chmod(0o711)
    with own_place(root) as place:
        yield place
    shutil.rmtree(root)


@pytest.fixture
async def trilbyd(place: Place, nothing_left_behind: None) -> AsyncIterator[DaemonProcess]:
    """A daemon as a process; plugins have half a second for a request."""
    async with own_daemon(place, 'nri_plugin_request_timeout = "500ms"\n') as daemon:
        yield daemon


@pytest.fixture
def nri(place: Place) -> str:
    """The socket that plugins connect to."""
    return str(place.root / "nri.sock")
