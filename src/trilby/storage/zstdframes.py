"""Follow the frames of a zstd stream, to know whether it ended where a frame ends (RFC 8878)."""

from __future__ import annotations

_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A50
_DICTIONARY_ID_SIZES = (0, 1, 2, 4)


class ZstdFrames:
    """Count through headers and blocks; the decompressor judges their content."""

    __slots__ = ("_buffer", "_checksum", "_skip", "_state")

    def __init__(self) -> None:
        self._buffer = b""
        self._skip = 0
        self._state = "frame"
        self._checksum = 0

    def complete(self) -> bool:
        """Whether the bytes fed so far end at the end of a frame."""
        return self._state == "frame" and not self._buffer and not self._skip

    def feed(self, chunk: bytes) -> None:
        """Follow the next bytes of the compressed stream."""
        if self._skip >= len(chunk):
            self._skip -= len(chunk)
            return
        data = self._buffer + chunk[self._skip :]
        self._skip = 0
        position = 0
        while True:
            step = self._step(data, position)
            if not step:
                break
            position += step
            if position > len(data):
                self._skip = position - len(data)
                position = len(data)
                break
        self._buffer = data[position:]

    def _step(self, data: bytes, at: int) -> int:
        """Return how many bytes the unit at `at` takes, 0 if its header is not complete yet."""
        left = len(data) - at
        if self._state == "block":
            if left < 3:
                return 0
            header = int.from_bytes(data[at : at + 3], "little")
            size = 1 if header >> 1 & 3 == 1 else header >> 3
            if not header & 1:
                return 3 + size
            self._state = "frame"
            return 3 + size + self._checksum
        if left < 5:
            return 0
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & ~0xF == _SKIPPABLE:
            return 8 + int.from_bytes(data[at + 4 : at + 8], "little") if left >= 8 else 0
        if magic != _MAGIC:
            return 0
        flags = data[at + 4]
        single = flags >> 5 & 1
        content_size = (single, 2, 4, 8)[flags >> 6]
        self._checksum = 4 * (flags >> 2 & 1)
        self._state = "block"
        return 5 + (1 - single) + _DICTIONARY_ID_SIZES[flags & 3] + content_size
