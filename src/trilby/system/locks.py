"""POSIX record locks on lock files, shared with containers/storage's own users, and their tokens.

A record lock belongs to the process: closing *any* descriptor of the file drops it. So there is one
registry per process that opens each lock file at most once; nobody else may open them. In front
of the kernel's lock stands a reader/writer lock for the threads of this process. A waiting writer
keeps new readers out, and a group of readers is broken up after a while so that writers in other
processes get their turn as well.

Format and rules: containers/storage's lock files (fcntl F_SETLKW on the whole file, release by
close, a 64-byte last-writer token at offset 0).
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import struct
import threading
import time
from types import TracebackType

from trilby.system.errors import LockBusy, LockFailed

TOKEN_SIZE = 64
_RETRY_SECONDS = 0.01
# Readers that join a group older than this wait for its end first, but not for ever: one of its
# members may be waiting for them.
_READER_GROUP_SECONDS = 0.5
_READER_PAUSE_SECONDS = 0.1

_counter = itertools.count(1)
_registry: dict[str, _LockFile] = {}
_registry_guard = threading.Lock()


class RecordLock:
    """The lock on one lock file; any number of these objects for a path share one state.

    Holders are threads: use it in blocking code, not across an ``await``.

    ``read_only`` is for stores that this process may not write: only shared() works then.
    """

    __slots__ = ("_file", "path")

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        folder, name = os.path.split(os.path.abspath(path))
        # Two spellings of one file must not become two descriptors.
        self.path = os.path.join(os.path.realpath(folder), name)
        with _registry_guard:
            file = _registry.get(self.path)
            if file is None:
                file = _registry[self.path] = _LockFile(self.path, read_only)
            elif not read_only:
                file.allow_writing()
        self._file = file

    def shared(self, *, timeout: float | None = None) -> Hold:
        """Hold the lock together with other readers: ``with lock.shared(): …``.

        The same thread may nest it in itself and in exclusive(). ``timeout`` in seconds (0: try
        once) raises LockBusy; LockFailed when the file cannot be opened or locked.
        """
        return self._file.acquire(False, timeout)

    def exclusive(self, *, timeout: float | None = None) -> Hold:
        """Hold the lock alone: ``with lock.exclusive(): …``; see shared().

        The same thread may nest it in exclusive(); inside shared() it raises RuntimeError, since
        two threads doing so would wait for each other for ever.
        """
        return self._file.acquire(True, timeout)

    def token(self) -> bytes:
        """The last writer's token, b"" if nobody ever wrote; the lock must be held."""
        return self._file.token()

    def write_token(self) -> bytes:
        """Write and return a new token: do so *before* changing what the lock protects.

        The lock must be held exclusively.
        """
        return self._file.write_token()

    def changed_since(self, token: bytes) -> bool:
        """Whether somebody wrote since ``token`` was read; the lock must be held."""
        return self._file.token() != token

    def held(self) -> bool:
        """Whether this process holds the lock in any way."""
        return self._file.is_held()

    def __repr__(self) -> str:
        return f"RecordLock({self.path!r})"


class Hold:
    """A lock that is held; release() once, from any thread, or leave the ``with`` block."""

    __slots__ = ("_file", "_owner")

    def __init__(self, file: _LockFile, owner: int) -> None:
        self._file: _LockFile | None = file
        self._owner = owner

    def release(self) -> None:
        """Let go; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            file.release(self._owner)

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.release()


class _LockFile:
    """The process' only knowledge of one lock file."""

    def __init__(self, path: str, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._condition = threading.Condition(threading.Lock())
        self._fd = -1
        self._exclusive = False
        # How often each thread holds it. Empty: nobody. Locked exclusively: one thread.
        self._holders: dict[int, int] = {}
        self._waiting_writers = 0
        # A thread is inside fcntl: the others wait for it rather than for the kernel.
        self._acquiring = False
        self._group_began = 0.0

    def allow_writing(self) -> None:
        with self._condition:
            if self.read_only and self._fd < 0:
                self.read_only = False

    def acquire(self, exclusive: bool, timeout: float | None) -> Hold:
        if exclusive and self.read_only:
            raise LockFailed(f"locking {self.path} for writing: it belongs to a read-only store")
        me = threading.get_ident()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            if me in self._holders:
                self._nest(me, exclusive)
                return Hold(self, me)
            self._wait_for_turn(exclusive, deadline)
            if self._holders:
                # Other readers are in: the kernel's read lock is ours already.
                self._holders[me] = 1
                return Hold(self, me)
            self._acquiring = True
        try:
            fd = self._open()
            try:
                self._lock(fd, exclusive, deadline)
            except BaseException:
                os.close(fd)
                raise
        except BaseException:
            with self._condition:
                self._acquiring = False
                self._condition.notify_all()
            raise
        with self._condition:
            self._acquiring = False
            self._fd = fd
            self._exclusive = exclusive
            self._holders[me] = 1
            self._group_began = time.monotonic()
            self._condition.notify_all()
        return Hold(self, me)

    def _nest(self, me: int, exclusive: bool) -> None:
        if exclusive and not self._exclusive:
            raise RuntimeError(f"{self.path}: exclusive() inside shared() of the same thread")
        self._holders[me] += 1

    def _wait_for_turn(self, exclusive: bool, deadline: float | None) -> None:
        """Wait until this thread may join the readers or ask the kernel; condition is held."""
        if exclusive:
            self._waiting_writers += 1
        pause_ends = time.monotonic() + _READER_PAUSE_SECONDS
        try:
            while not self._may_enter(exclusive, pause_ends):
                now = time.monotonic()
                if deadline is not None and deadline <= now:
                    raise self._busy()
                wake = deadline
                if not exclusive and pause_ends > now:
                    wake = pause_ends if deadline is None else min(deadline, pause_ends)
                self._condition.wait(None if wake is None else wake - now)
        finally:
            if exclusive:
                self._waiting_writers -= 1
                if not self._waiting_writers:
                    self._condition.notify_all()

    def _may_enter(self, exclusive: bool, pause_ends: float) -> bool:
        if self._acquiring:
            return False
        if not self._holders:
            return exclusive or not self._waiting_writers
        if exclusive or self._exclusive or self._waiting_writers:
            return False
        now = time.monotonic()
        return now >= pause_ends or now - self._group_began < _READER_GROUP_SECONDS

    def _open(self) -> int:
        flags = os.O_CREAT | os.O_CLOEXEC | (os.O_RDONLY if self.read_only else os.O_RDWR)
        try:
            try:
                return os.open(self.path, flags, 0o644)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
                return os.open(self.path, flags, 0o644)
            except OSError as error:
                if self.read_only and error.errno in (errno.EROFS, errno.EACCES):
                    return os.open(self.path, flags & ~os.O_CREAT)
                raise
        except OSError as error:
            raise LockFailed(f"opening lock file {self.path}: {error.strerror}") from error

    def _lock(self, fd: int, exclusive: bool, deadline: float | None) -> None:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        while True:
            try:
                fcntl.lockf(fd, kind if deadline is None else kind | fcntl.LOCK_NB)
                return
            except OSError as error:
                # The kernel's deadlock detection counts processes where threads hold the locks: a
                # cycle that it sees dissolves by itself.
                if deadline is None and error.errno in (errno.EDEADLK, errno.EINTR):
                    time.sleep(_RETRY_SECONDS)
                elif deadline is not None and error.errno in (errno.EAGAIN, errno.EACCES):
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise self._busy() from error
                    # The kernel has no lock request with a time limit.
                    time.sleep(min(left, _RETRY_SECONDS))
                else:
                    raise LockFailed(f"locking {self.path}: {error.strerror}") from error

    def release(self, owner: int) -> None:
        with self._condition:
            self._holders[owner] -= 1
            if self._holders[owner]:
                return
            del self._holders[owner]
            if not self._holders:
                fd, self._fd = self._fd, -1
                self._exclusive = False
                os.close(fd)
            self._condition.notify_all()

    def is_held(self) -> bool:
        with self._condition:
            return bool(self._holders)

    def token(self) -> bytes:
        if self._fd < 0:
            raise RuntimeError(f"{self.path}: token() without the lock")
        return os.pread(self._fd, TOKEN_SIZE, 0)

    def write_token(self) -> bytes:
        if self._fd < 0 or not self._exclusive:
            raise RuntimeError(f"{self.path}: write_token() without the exclusive lock")
        token = new_token()
        if os.pwrite(self._fd, token, 0) != TOKEN_SIZE:
            raise LockFailed(f"writing the last-writer token to {self.path}: the disk is full")
        return token

    def _busy(self) -> LockBusy:
        return LockBusy(
            f"locking {self.path}: somebody else holds it",
            hint=f"lslocks or fuser -v {self.path} shows who",
        )


def new_token() -> bytes:
    """A unique token: time in ns u64, counter u64, process number u32 (LE), 44 random bytes."""
    head = struct.pack("<QQI", time.time_ns(), next(_counter), os.getpid())
    return head + os.urandom(TOKEN_SIZE - len(head))
