"""Sparse members: the maps of GNU tar's old header and of its PAX formats 0.0, 0.1 and 1.0."""

from __future__ import annotations

from collections.abc import Callable

from trilby.storage.tarfault import corrupt, shown
from trilby.storage.tarheader import MAX_SIZE, field

# A map is (offset, length) of each data region, ascending; the data follows each other in the file.
SparseMap = list[tuple[int, int]]
_MAX_REGIONS = 100_000


def check(name: bytes, regions: SparseMap, real_size: int, stored: int) -> SparseMap:
    """Return the map if it is ascending, within the file, and says as much data as is stored."""
    end = total = 0
    for offset, length in regions:
        if offset < end or length < 0 or offset + length > real_size:
            raise _bad(name)
        end = offset + length
        total += length
    if total != stored or not 0 <= real_size <= MAX_SIZE:
        raise _bad(name)
    return [region for region in regions if region[1]]


def _bad(name: bytes) -> Exception:
    return corrupt(f"cannot read the layer: {shown(name)!r}: malformed map of a sparse file")


def old_gnu_map(
    name: bytes, header: bytes, next_block: Callable[[], bytes]
) -> tuple[SparseMap, int]:
    """Read the map of an old GNU header ('S'); return it and the real size."""
    real_size = field(name, "real size", header[483:495], 0, MAX_SIZE)
    regions: SparseMap = []
    table, extended = header[386:482], header[482]
    while True:
        for at in range(0, len(table), 24):
            if not table[at]:
                break
            regions.append(
                (
                    field(name, "offset", table[at : at + 12], 0, MAX_SIZE),
                    field(name, "length", table[at + 12 : at + 24], 0, MAX_SIZE),
                )
            )
        if not extended:
            return regions, real_size
        if len(regions) > _MAX_REGIONS:
            raise _bad(name)
        block = next_block()
        table, extended = block[:504], block[504]


def pax_map(name: bytes, records: list[tuple[bytes, bytes]]) -> SparseMap | None:
    """Return the map that PAX formats 0.0 and 0.1 keep in records; None if there is none."""
    numbers: list[bytes] = []
    for key, value in records:
        if key == b"GNU.sparse.map":
            numbers = value.split(b",") if value else []
        elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            # Format 0.0 repeats the pair of records for each region.
            if (key == b"GNU.sparse.offset") != (len(numbers) % 2 == 0):
                raise _bad(name)
            numbers.append(value)
        elif key == b"GNU.sparse.numblocks":
            continue
        else:
            continue
    if not numbers and not any(key == b"GNU.sparse.numblocks" for key, _ in records):
        return None
    return _pairs(name, numbers)


def data_map(name: bytes, next_block: Callable[[], bytes]) -> SparseMap:
    """Read the map that PAX format 1.0 puts before the data, in decimal lines, in whole blocks."""
    data = next_block()
    count = -1
    while True:
        lines = data.split(b"\n")
        if len(lines) > 1 and count < 0:
            count = _number(name, lines[0])
            if count > _MAX_REGIONS:
                raise _bad(name)
        if 0 <= count <= (len(lines) - 2) // 2:
            return _pairs(name, lines[1 : 1 + 2 * count])
        if len(data) > 64 * (_MAX_REGIONS if count < 0 else count + 16):
            raise _bad(name)
        data += next_block()


def _number(name: bytes, text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise _bad(name)
    return int(text)


def _pairs(name: bytes, numbers: list[bytes]) -> SparseMap:
    if len(numbers) % 2 or len(numbers) > 2 * _MAX_REGIONS:
        raise _bad(name)
    values = [_number(name, text) for text in numbers]
    return list(zip(values[::2], values[1::2], strict=True))
