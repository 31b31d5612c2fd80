"""One lock per sandbox and per container, between tasks and between processes.

They are flock(2) locks on files of their own: the kernel releases them when their holder dies. A
lock file disappears with what it locks, so whoever gets a lock looks whether the file is still
there, and begins again if not.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from trilby.pods.errors import PodBusy
from trilby.pods.state import Layout

# As long as a kubelet's longest call, plus some: whoever holds a lock longer than this hangs.
WAIT = 300.0


class Held:
    """A lock that is held; release() it, or unlink() it together with what it locked."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def unlink(self) -> None:
        """Remove the lock's file, before it is released: the locked thing exists no more."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def try_lock(path: str, *, shared: bool = False) -> Held | None:
    """Take the lock if nobody has it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if _is_there(fd, path):
                return Held(path, fd)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


async def take_lock(path: str, *, shared: bool = False, timeout: float = WAIT) -> Held:
    """Wait for the lock. Raises PodBusy after ``timeout`` seconds."""
    held = try_lock(path, shared=shared)
    if held is not None:
        return held
    try:
        async with asyncio.timeout(timeout):
            return await _wait_in_thread(path, shared)
    except TimeoutError:
        raise PodBusy(
            f"waiting for the lock {path}: another process holds it for more than {timeout:g} s",
            hint="lsof shows who",
        ) from None


def forget_locks(layout: Layout, ids: Iterable[str]) -> None:
    """Remove the lock files of what exists no more."""
    for some_id in ids:
        Held(layout.lock(some_id), -1).unlink()


@asynccontextmanager
async def locked(path: str, *, shared: bool = False, timeout: float = WAIT) -> AsyncIterator[Held]:
    """take_lock() for a with block."""
    held = await take_lock(path, shared=shared, timeout=timeout)
    try:
        yield held
    finally:
        held.release()


async def _wait_in_thread(path: str, shared: bool) -> Held:
    """flock(2) cannot be polled; the thread is a daemon so that it never delays an exit."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Held] = loop.create_future()

    def deliver(held: Held) -> None:
        if found.done():
            held.release()
        else:
            found.set_result(held)

    def wait() -> None:
        held = _wait(path, shared)
        try:
            loop.call_soon_threadsafe(deliver, held)
        except RuntimeError:  # the loop was closed meanwhile
            held.release()

    threading.Thread(target=wait, name="pod-lock", daemon=True).start()
    return await found


def _wait(path: str, shared: bool) -> Held:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        if _is_there(fd, path):
            return Held(path, fd)
        os.close(fd)


def _is_there(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
