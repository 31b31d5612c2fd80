"""A readable stream over an iterator of blocks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO


class _Raw(io.RawIOBase):
    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # Buffer of typeshed
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        # A generator lets go of its files and mounts now rather than when it is collected.
        close = getattr(self._blocks, "close", None)
        if close is not None and not self.closed:
            close()
        super().close()


def iterator_stream(blocks: Iterator[bytes]) -> BinaryIO:
    """The blocks as a buffered binary file; closing it closes the iterator."""
    return io.BufferedReader(_Raw(blocks), 1 << 20)
