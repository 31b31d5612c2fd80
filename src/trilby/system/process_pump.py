"""Non-blocking ends of a child's pipes: collect its output, feed its input."""

from __future__ import annotations

import os
import select
from typing import IO, Final

_CHUNK: Final = 1 << 16


class Reader:
    """Collects a pipe up to ``limit`` bytes; what comes after is read and dropped."""

    events = select.POLLIN

    def __init__(self, fd: int, limit: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.truncated = False
        self._limit = limit
        self._size = 0
        self._chunks: list[bytes] = []

    def pump(self) -> bool:
        """Read once; False at the end."""
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        room = self._limit - self._size
        if len(chunk) > room:
            self.truncated = True
            chunk = chunk[:room]
        self._size += len(chunk)
        self._chunks.append(chunk)
        return True

    def drain(self) -> None:
        """Read what is there now, without waiting; a grandchild may keep the pipe open."""
        # Bounded: a grandchild that writes without end must not keep us.
        for _ in range(1 + self._limit // _CHUNK):
            before = self._size
            if not self.pump() or self._size == before:
                return

    def data(self) -> bytes:
        """All so far."""
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0] if self._chunks else b""


class Feeder:
    """Writes ``data`` into a pipe and closes it; a reader that went away is no error."""

    events = select.POLLOUT

    def __init__(self, pipe: IO[bytes], data: bytes) -> None:
        self.fd = pipe.fileno()
        os.set_blocking(self.fd, False)
        self._pipe = pipe
        self._rest = memoryview(data)

    def pump(self) -> bool:
        """Write once; False when all is written, or nobody reads any more."""
        try:
            if self._rest:
                self._rest = self._rest[os.write(self.fd, self._rest) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            self._rest = memoryview(b"")
        return bool(self._rest)

    def close(self) -> None:
        """Tell the reader that no more comes."""
        self._pipe.close()
