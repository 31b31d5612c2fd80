"""Events for asyncio without polling or threads: process exits, file changes, memory pressure."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import select
import struct
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Final

import msgspec

from trilby.system.files import Fd
from trilby.system.syscalls import check, libc

IN_MODIFY: Final = 0x2
IN_ATTRIB: Final = 0x4
IN_CLOSE_WRITE: Final = 0x8
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
# A file that is complete: written and closed, or moved to its name.
COMPLETE: Final = IN_CLOSE_WRITE | IN_MOVED_TO

_EVENT: Final = struct.Struct("=iIII")
_BUFFER: Final = 1 << 16


async def wait_readable(fd: int) -> None:
    """Wait until ``fd`` is readable. One waiter per descriptor at a time."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _set_done, future)
    try:
        await future
    finally:
        loop.remove_reader(fd)


async def wait_pidfd(pidfd: int, timeout: float | None = None) -> bool:
    """Wait until the process of ``pidfd`` ended, child or not; False when ``timeout`` s are over.

    Any number of tasks may wait on one pidfd. The exit status is not taken.
    """
    if exited(pidfd):
        return True
    # A loop has one reader per descriptor; a duplicate of our own lets others wait as well.
    with Fd(os.dup(pidfd)) as own:
        try:
            async with asyncio.timeout(timeout):
                await wait_readable(own.number)
        except TimeoutError:
            return exited(pidfd)
    return True


def exited(pidfd: int) -> bool:
    """Whether the process of ``pidfd`` ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


class FileEvent(msgspec.Struct, frozen=True):
    """Something happened to ``name`` in the directory ``path`` ("" for ``path`` itself).

    ``overflow``: events were lost, look at everything again.
    """

    path: str
    name: str
    mask: int

    @property
    def overflow(self) -> bool:
        """Events were lost."""
        return bool(self.mask & IN_Q_OVERFLOW)

    @property
    def removed(self) -> bool:
        """The watched path itself is gone, or moved away."""
        return bool(self.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED))


class Inotify:
    """Changes of files and directories; inotify(7). ``async for event in Inotify([path]):``

    Watches are on from construction, so what happens before the first event is asked for is not
    lost. Iterate in one task. close() ends the iteration.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]] = (), mask: int = COMPLETE) -> None:
        flags = ctypes.c_int(os.O_NONBLOCK | os.O_CLOEXEC)
        self._fd = Fd(check(libc.inotify_init1(flags), "inotify_init1"))
        self._paths: dict[int, str] = {}
        self._queue: asyncio.Queue[FileEvent | None] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            for path in paths:
                self.add(path, mask)
        except BaseException:
            self.close()
            raise

    def add(self, path: str | os.PathLike[str], mask: int = COMPLETE) -> None:
        """Watch one more; a second call for a path replaces its mask. Raises OSError."""
        name = os.fspath(path)
        watch = libc.inotify_add_watch(
            ctypes.c_int(self._fd.number), os.fsencode(name), ctypes.c_uint32(mask)
        )
        self._paths[check(watch, "inotify_add_watch", name)] = name

    def fileno(self) -> int:
        """The descriptor, readable when read_now() has something; -1 when closed."""
        return self._fd.number

    def remove(self, path: str | os.PathLike[str]) -> None:
        """Stop watching; a path that is not watched is fine."""
        name = os.fspath(path)
        for watch in [watch for watch, known in self._paths.items() if known == name]:
            del self._paths[watch]
            libc.inotify_rm_watch(ctypes.c_int(self._fd.number), ctypes.c_int(watch))

    def read_now(self) -> list[FileEvent]:
        """The events that are there, without waiting; also usable without a loop."""
        try:
            data = os.read(self._fd.number, _BUFFER)
        except BlockingIOError:
            return []
        found = []
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].split(b"\0", 1)[0])
            offset += length
            path = self._paths.get(watch, "")
            if mask & IN_IGNORED:
                self._paths.pop(watch, None)
            if path or mask & IN_Q_OVERFLOW:
                found.append(FileEvent(path, name, mask))
        return found

    def __aiter__(self) -> AsyncIterator[FileEvent]:
        return self

    async def __anext__(self) -> FileEvent:
        if self._loop is None and self._fd.number >= 0:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._fd.number, self._on_readable)
        event = None
        if self._fd.number >= 0 or not self._queue.empty():
            event = await self._queue.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Stop watching everything."""
        if self._fd.number < 0:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._fd.number)
        self._fd.close()
        self._queue.put_nowait(None)

    def __enter__(self) -> Inotify:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def _on_readable(self) -> None:
        for event in self.read_now():
            self._queue.put_nowait(event)


class EventFd:
    """A kernel counter that something signals; eventfd(2)."""

    def __init__(self) -> None:
        self._fd = Fd(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def fileno(self) -> int:
        """The descriptor, to hand to whoever signals."""
        return self._fd.number

    async def wait(self) -> int:
        """Wait for signals; how many came since the last call."""
        while True:
            try:
                return os.eventfd_read(self._fd.number)
            except BlockingIOError:
                await wait_readable(self._fd.number)

    def take(self) -> int:
        """How many came since the last call, without waiting."""
        try:
            return os.eventfd_read(self._fd.number)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return 0

    def close(self) -> None:
        """Close the descriptor."""
        self._fd.close()


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
