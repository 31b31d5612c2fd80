"""Reading a container's log as ``kubectl logs`` does: tail, since, both streams, follow.

Following waits for the file's changes by inotify and goes on in the new file after a rotation
(rename and reopen). It ends when the container has ended and everything is read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

from trilby.pods.logs import Entry, parse_entries, parse_entry, parse_time
from trilby.system.events import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify

_BLOCK = 1 << 16
_READ = 1 << 18


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``tail`` whole lines (None: all), those from ``since_ns`` on; ``stream`` empty: both."""

    tail: int | None = None
    since_ns: int = 0
    follow: bool = False
    stream: str = ""


ALL = LogOptions()


def read_log(path: str, options: LogOptions = ALL) -> Iterator[Entry]:
    """The entries that are in the log now; none without a file."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(tail_offset(file.fileno(), options.tail))
        for entry in parse_entries(file):
            if _wanted(entry, options):
                yield entry


async def follow_log(
    path: str, options: LogOptions, ended: Callable[[], bool], wake: asyncio.Event | None = None
) -> AsyncIterator[Entry]:
    """The entries, and those still to come, until ``ended()`` says that no more do.

    ``wake`` is set by whoever knows that ``ended()`` may have changed.
    """
    folder, name = os.path.split(path)
    with Inotify([folder], IN_MODIFY | IN_CREATE | IN_MOVED_TO) as watch:
        changed = wake or asyncio.Event()
        watcher = asyncio.create_task(_forward(watch, name, changed))
        try:
            reader = _Reader(path, options.tail)
            try:
                while True:
                    changed.clear()
                    over = ended()
                    for entry in reader.read():
                        if _wanted(entry, options):
                            yield entry
                    if over:
                        return
                    if not reader.rotated():
                        await changed.wait()
            finally:
                reader.close()
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


async def _forward(watch: Inotify, name: str, changed: asyncio.Event) -> None:
    async for event in watch:
        if event.overflow or event.name == name:
            changed.set()


class _Reader:
    """The file at a path, read from where it was left; the next one after a rotation."""

    def __init__(self, path: str, tail: int | None) -> None:
        self._path = path
        self._fd = -1
        self._rest = b""
        self._open()
        if self._fd >= 0:
            os.lseek(self._fd, tail_offset(self._fd, tail), os.SEEK_SET)

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1

    def read(self) -> Iterator[Entry]:
        """All whole entries that are there now."""
        if self._fd < 0:
            self._open()
        while self._fd >= 0 and (block := os.read(self._fd, _READ)):
            *lines, self._rest = (self._rest + block).split(b"\n")
            for line in lines:
                entry = parse_entry(line)
                if entry is not None:
                    yield entry

    def rotated(self) -> bool:
        """Whether another file has the name now; then read() goes on with that one."""
        if self._fd < 0:
            return False
        try:
            same = os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except FileNotFoundError:
            return False
        if not same:
            self.close()
            self._rest = b""
            self._open()
        return not same

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def tail_offset(fd: int, lines: int | None) -> int:
    """Where the last ``lines`` whole lines begin; pieces of one line count once.

    Reads backwards in blocks, so that a long log costs no more than its tail.
    """
    size = os.fstat(fd).st_size
    if lines is None:
        return 0
    if lines <= 0:
        return size
    tail = b""
    position = size
    while position > 0:
        start = max(0, position - _BLOCK)
        tail = os.pread(fd, position - start, start) + tail
        position = start
        found = _line_starts(tail, lines, whole=position == 0)
        if found is not None:
            return position + found
    return 0


def _line_starts(tail: bytes, lines: int, *, whole: bool) -> int | None:
    """Where the last ``lines`` log lines begin in ``tail``; None when more of it is needed."""
    count = 0
    end = len(tail)
    begin = end
    while end > 0:
        start = tail.rfind(b"\n", 0, end - 1) + 1
        if start == 0 and not whole:
            return None
        entry = parse_entry(tail[start:end])
        # An entry that ends a line begins a new count; the pieces before it belong to it.
        if entry is None or not entry.partial or end == len(tail):
            if count == lines:
                return begin
            count += 1
        begin = start
        end = start
    return begin if whole else None


def _wanted(entry: Entry, options: LogOptions) -> bool:
    if options.stream and entry.stream != options.stream:
        return False
    return not options.since_ns or parse_time(entry.time) >= options.since_ns
