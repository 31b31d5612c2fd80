"""The CRI log format: lines as ``<time> <stdout|stderr> <F|P> <text>``.

See the Kubernetes "CRI log format" design: P marks a piece of a line that goes on in the next entry
of the same stream, F its last piece. Tags after the first, joined by ``:``, are ignored.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

FULL: Final = b"F"
PARTIAL: Final = b"P"
STREAMS: Final = ("stdout", "stderr")
_TIME = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|([+-])(\d\d):(\d\d))"
)


class Entry(msgspec.Struct, frozen=True):
    """One entry. ``time`` as it stands in the log; ``data`` has its line feed if it is the end."""

    time: bytes
    stream: str
    partial: bool
    data: bytes


def parse_entry(line: bytes) -> Entry | None:
    """Understand a line (with or without its line feed); None for one that is not an entry."""
    parts = line.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr") or not _TIME.fullmatch(parts[0]):
        return None
    tag = parts[2].split(b":", 1)[0]
    if tag not in (FULL, PARTIAL):
        return None
    partial = tag == PARTIAL
    data = parts[3] if len(parts) == 4 else b""
    return Entry(parts[0], parts[1].decode(), partial, data if partial else data + b"\n")


def format_entries(stream: str, time_ns: int, data: bytes, *, piece: int = 16384) -> bytes:
    """Entries for output: one per line, long lines in pieces; the last piece ends the line.

    Output without a line feed at its end is partial.
    """
    prefix = b"%s %s " % (format_time(time_ns), stream.encode())
    entries = []
    lines = data.split(b"\n")
    for number, text in enumerate(lines):
        ended = number < len(lines) - 1
        if not ended and not text:
            break
        pieces = [text[at : at + piece] for at in range(0, len(text), piece)] or [b""]
        entries += [prefix + PARTIAL + b" " + part + b"\n" for part in pieces[:-1]]
        entries.append(prefix + (FULL if ended else PARTIAL) + b" " + pieces[-1] + b"\n")
    return b"".join(entries)


def format_time(time_ns: int) -> bytes:
    """RFC 3339 with nanoseconds, in UTC."""
    seconds, nanoseconds = divmod(time_ns, 10**9)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return b"%s.%09dZ" % (moment.strftime("%Y-%m-%dT%H:%M:%S").encode(), nanoseconds)


def parse_time(text: bytes) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time with any zone. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    year, month, day, hour, minute, second = (int(match[index]) for index in range(1, 7))
    moment = datetime.datetime(year, month, day, hour, minute, min(second, 59), tzinfo=datetime.UTC)
    seconds = int(moment.timestamp())
    if match[9]:
        offset = int(match[10]) * 3600 + int(match[11]) * 60
        seconds -= offset if match[9] == b"+" else -offset
    return seconds * 10**9 + int((match[7] or b"").ljust(9, b"0"))


def parse_entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Entries of lines; what is not an entry is passed over."""
    for line in lines:
        entry = parse_entry(line)
        if entry is not None:
            yield entry
