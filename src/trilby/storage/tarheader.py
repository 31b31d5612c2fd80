"""The fields of a tar header: numbers, checksums, PAX records (POSIX pax, GNU tar, star)."""

from __future__ import annotations

import struct

from trilby.storage.tarfault import corrupt, shown

HEADER = struct.Struct("100s24s12s12s8ss100s8s64s8s8s155s12s")
_NAMES = (b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name")
MAX_SIZE = 1 << 62
MAX_ID = 1 << 32
MAX_SECONDS = 1 << 40
MIN_TIME = -(1 << 80)


def octal(field: bytes) -> int:
    """Parse an octal field padded with spaces or NULs; raises ValueError."""
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    if not digits.isdigit():
        raise ValueError("not an octal number")
    return int(digits, 8)


def number(field: bytes) -> int:
    """Parse an octal or base-256 (two's complement) field; raises ValueError."""
    if not field[0] & 0x80:
        return octal(field)
    value = int.from_bytes(field, "big")
    if field[0] & 0x40:
        return value - (1 << 8 * len(field))
    return value - (1 << 8 * len(field) - 1)


def field(name: bytes, what: str, data: bytes, low: int, high: int) -> int:
    """Return the number in a header's field; raises CorruptLayer naming the entry."""
    try:
        value = number(data)
    except ValueError:
        raise corrupt(f"cannot read the layer: {shown(name)!r}: bad {what} {data!r}") from None
    if not low <= value <= high:
        raise corrupt(f"cannot read the layer: {shown(name)!r}: {what} {value} is out of range")
    return value


def expected_sum(stored: bytes) -> int:
    """Return what Adler-32's low half is for a header whose checksum field is `stored`.

    Adler's low half is 1 plus the sum of the bytes modulo 65521, and C code computes it. tar sums
    the header with its checksum field read as spaces. Returns -1 if the field is no number.
    """
    try:
        return (1 + octal(stored) - 8 * 0x20 + sum(stored)) % 65521
    except ValueError:
        return -1


def signed_sum_matches(header: bytes) -> bool:
    """Whether the checksum is right if bytes are signed, as some old archivers count."""
    try:
        stored = octal(header[148:156])
    except ValueError:
        return False
    plain = header[:148] + b" " * 8 + header[156:]
    return stored == sum(byte - 256 if byte > 127 else byte for byte in plain)


def pax_records(name: bytes, data: bytes) -> list[tuple[bytes, bytes]]:
    """Split the payload of a PAX header ("<length> <key>=<value>\\n" …) in the order it has.

    Raises CorruptLayer. Keys and names may not hold NUL; values of extended attributes may.
    """
    records = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            raise _bad_pax(name)
        end = position + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 2 or data[end - 1] != 0x0A or not equals or not key:
            raise _bad_pax(name)
        if b"\0" in key or (b"\0" in value and key in _NAMES):
            raise _bad_pax(name)
        records.append((key, value))
        position = end
    return records


def _bad_pax(name: bytes) -> Exception:
    return corrupt(f"cannot read the layer: malformed PAX header {shown(name)!r}")


def pax_number(name: bytes, key: bytes, value: bytes, high: int) -> int:
    """Return a PAX record's whole number; raises CorruptLayer."""
    if not value.isdigit() or len(value) > 20 or int(value) > high:
        raise corrupt(
            f"cannot read the layer: {shown(name)!r}: bad PAX {shown(key)} {shown(value)!r}"
        )
    return int(value)


def pax_time(name: bytes, value: bytes) -> int:
    """Return a PAX time "<seconds>[.<fraction>]" as nanoseconds since 1970; may be negative."""
    seconds, _, fraction = value.partition(b".")
    sign = -1 if seconds[:1] == b"-" else 1
    digits = seconds.lstrip(b"-")
    if not (digits + b"0").isdigit() or not (fraction + b"0").isdigit() or len(digits) > 13:
        raise corrupt(f"cannot read the layer: {shown(name)!r}: bad PAX time {shown(value)!r}")
    return sign * (int(digits or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))
