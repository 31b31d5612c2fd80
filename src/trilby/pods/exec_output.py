"""Collecting a command's output from a pipe on the event loop, up to a limit."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16


class Collector:
    """A pipe and what was written to it; more than ``limit`` bytes are read and thrown away."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.truncated = False
        self._data = bytearray()
        self._loop = asyncio.get_running_loop()
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._loop.add_reader(self._read_end, self._pump)

    def close_write_end(self) -> None:
        """Ours, once the command has its own."""
        fd, self.write_end = self.write_end, -1
        if fd >= 0:
            os.close(fd)

    def take(self) -> bytes:
        """Everything that was written until now."""
        while self._pump():
            pass
        return bytes(self._data)

    def _pump(self) -> bool:
        """Read once; False when there is nothing (more)."""
        if self._read_end < 0:
            return False
        try:
            chunk = os.read(self._read_end, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._close_read_end()
            return False
        room = self.limit - len(self._data)
        self.truncated |= len(chunk) > room
        self._data += chunk[: max(room, 0)]
        return True

    def _close_read_end(self) -> None:
        fd, self._read_end = self._read_end, -1
        if fd >= 0:
            self._loop.remove_reader(fd)
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_write_end()
        self._close_read_end()
