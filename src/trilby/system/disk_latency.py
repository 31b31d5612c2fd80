"""How long a disk takes to make data safe, measured as databases with a log write them."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from typing import Final

__all__ = ["BLOCK", "sync_times"]

#: Bytes of a write, as etcd's advice for fio has it.
BLOCK: Final = 2300
_ROOM: Final = 1 << 20
#: File systems without files that have no name.
_NO_NAMELESS: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT)


def sync_times(directory: str | os.PathLike[str], writes: int, seconds: float) -> list[float]:
    """Seconds of each of ``writes`` fdatasync(2), or of those done in ``seconds``.

    The file has no name, and its room is allocated before, as that of a write-ahead log is. Raises
    OSError.
    """
    fd = _nameless(os.fspath(directory))
    try:
        os.posix_fallocate(fd, 0, _ROOM)
        os.fsync(fd)
        data, found = os.urandom(BLOCK), []
        end = time.monotonic() + seconds
        for number in range(writes):
            os.pwrite(fd, data, number * BLOCK % (_ROOM - BLOCK))
            begin = time.monotonic()
            os.fdatasync(fd)
            now = time.monotonic()
            found.append(now - begin)
            if now > end:
                break
        return found
    finally:
        os.close(fd)


def _nameless(directory: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(directory, flags | os.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in _NO_NAMELESS or not os.path.isdir(directory):
            raise
    fd, path = tempfile.mkstemp(prefix=".trilby-check-", dir=directory)
    os.unlink(path)
    return fd
