"""Files that are whole or not there: atomic writes, bounded reads, owned fds, tree removal."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from trilby.system.errors import HostError

_TEMPORARY_ATTEMPTS = 100


class Fd:
    """Owns one file descriptor and closes it once; use as a context manager."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        flags: int,
        mode: int = 0o600,
        *,
        dir_fd: int | None = None,
    ) -> Fd:
        """Open ``path`` and own the descriptor (O_CLOEXEC always)."""
        return cls(os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd))

    def fileno(self) -> int:
        """The number, for select and friends; -1 when closed or given away."""
        return self.number

    def detach(self) -> int:
        """Give the descriptor away: the caller owns it now."""
        number, self.number = self.number, -1
        return number

    def close(self) -> None:
        """Close; a second call does nothing."""
        # Forget it first: were close() interrupted, a second close could hit somebody else's file.
        number = self.detach()
        if number >= 0:
            os.close(number)

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Fd({self.number})"


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data`` to a blocking descriptor, however often write(2) stops short."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def read_all(fd: int, limit: int = 1 << 30) -> bytes:
    """Read a descriptor to its end; raises HostError past ``limit`` bytes."""
    chunks = []
    total = 0
    while chunk := os.read(fd, 1 << 16):
        total += len(chunk)
        if total > limit:
            raise HostError(f"reading descriptor {fd}: more than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The whole content of a small file that is ours or the kernel's; raises OSError.

    A third of what open() costs, for what is read by hundreds: no buffers, no look at the file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = piece = os.read(fd, 1 << 16)
        while piece:
            piece = os.read(fd, 1 << 16)
            data += piece
        return data
    finally:
        os.close(fd)


def read_bytes_limited(path: str | os.PathLike[str], limit: int) -> bytes:
    """The file's content; raises HostError when it has more than ``limit`` bytes, and OSError."""
    with Fd.open(path, os.O_RDONLY) as fd:
        size = os.fstat(fd.number).st_size
        if size <= limit:
            # One read in the usual case; special files claim size 0 and are read on.
            data = os.read(fd.number, min(size, limit) + 1 if size else min(limit, 1 << 16) + 1)
            if data and len(data) != size:
                data += read_all(fd.number, max(limit + 1 - len(data), 0) + (1 << 16))
            if len(data) <= limit:
                return data
        raise HostError(
            f"reading {os.fspath(path)}: it has {max(size, limit + 1)} bytes or more"
            f" where at most {limit} are expected"
        )


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Make the directory's entries (a rename in it) survive a power cut."""
    with Fd.open(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd.number)


def sync_fs(fd: int) -> None:
    """Write everything of the file system that ``fd`` is on to disk: one call for many files."""
    from trilby.system.syscalls_file import syncfs

    syncfs(fd)


def atomic_write(
    path: str | os.PathLike[str],
    data: bytes | bytearray | memoryview,
    mode: int = 0o600,
    fsync: bool = True,
) -> None:
    """Replace or make ``path`` with ``data``: readers see the old file or the new one, never less.

    ``mode`` is exact, whatever the umask. ``fsync=False`` is for state that dies with the host.
    Raises OSError; nothing is left over then.
    """
    with atomic_file(path, mode, fsync) as fd:
        write_all(fd, data)


@contextmanager
def atomic_file(
    path: str | os.PathLike[str], mode: int = 0o600, fsync: bool = True
) -> Iterator[int]:
    """A descriptor to write the future ``path`` through; it appears when the block ends well."""
    target = os.fspath(path)
    temporary, fd = _open_temporary(target)
    try:
        try:
            yield fd
            os.fchmod(fd, mode)
            if fsync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, target)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise
    if fsync:
        fsync_directory(os.path.dirname(target) or ".")


def _open_temporary(target: str) -> tuple[str, int]:
    """A new file next to ``target``: only a rename within one directory is atomic everywhere."""
    folder, name = os.path.split(target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(_TEMPORARY_ATTEMPTS):
        # Names have at most 255 bytes, so a long one is cut.
        path = os.path.join(folder, f".{name[:100]}.{os.urandom(6).hex()}.tmp")
        try:
            return path, os.open(path, flags, 0o600)
        except FileExistsError:
            continue
        except OSError as error:
            error.filename = target
            raise
    raise FileExistsError(errno.EEXIST, "no free name for a temporary file", target)


def remove_temporaries(directory: str | os.PathLike[str]) -> list[str]:
    """Remove what interrupted atomic writes (power cut, kill -9) left in ``directory``; the names.

    Only for whoever holds the lock of what is written there: a write under way looks the same.
    """
    import re

    pattern = re.compile(r"\..*\.[0-9a-f]{12}\.tmp", re.DOTALL)
    found = [name for name in os.listdir(directory) if pattern.fullmatch(name)]
    for name in found:
        os.unlink(os.path.join(directory, name))
    return found


def remove_tree(path: str | os.PathLike[str], *, missing_ok: bool = True) -> None:
    """Remove a file or a directory with all below it; links are removed, never followed.

    Directories without write permission and immutable files are no obstacle. What is mounted in
    the tree is: raises TreeBusy before anything is removed, and no mount is ever entered. Safe
    against others that rename and link inside the tree meanwhile. Raises OSError otherwise.
    """
    from trilby.system.removal import remove_tree as remove

    remove(path, missing_ok=missing_ok)
