"""The CRI log format: what is written is read back, and tails are cut where lines begin."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.pods.logs import format_entries, format_time, parse_entry, parse_time
from trilby.pods.logs_read import LogOptions, follow_log, read_log, tail_offset

NOW = 1_700_000_000_123_456_789


def test_an_entry_is_understood() -> None:
    entry = parse_entry(b"2026-01-02T03:04:05.000000006+01:00 stderr F some text\n")
    assert entry is not None
    assert (entry.stream, entry.partial, entry.data) == ("stderr", False, b"some text\n")
    assert parse_time(entry.time) % 1000 == 6
    tagged = parse_entry(b"2026-01-02T03:04:05Z stdout P:x:y piece")
    assert tagged is not None and tagged.partial and tagged.data == b"piece"
    empty = parse_entry(b"2026-01-02T03:04:05Z stdout F")
    assert empty is not None and empty.data == b"\n"


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"2026 stdout F x", b"2026-01-02T03:04:05Z stdin F x", b"\xff\xfe \x00 F x",
     b"2026-01-02T03:04:05Z stdout Q x"],
)  # fmt: skip
def test_what_is_no_entry_is_none(line: bytes) -> None:
    assert parse_entry(line) is None


@given(st.binary(max_size=200))
def test_any_line_is_parsed_without_an_exception(line: bytes) -> None:
    parse_entry(line)


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_times_come_back(time_ns: int) -> None:
    assert parse_time(format_time(time_ns)) == time_ns


def test_zones() -> None:
    assert parse_time(b"2026-01-02T03:04:05+01:00") == parse_time(b"2026-01-02T02:04:05Z")
    assert parse_time(b"2026-01-02T03:04:05.5-00:30") == parse_time(b"2026-01-02T03:34:05.500Z")
    with pytest.raises(ValueError, match="not an RFC 3339 time"):
        parse_time(b"yesterday")


@given(st.binary(max_size=300), st.integers(1, 20))
def test_output_comes_back(data: bytes, piece: int) -> None:
    written = format_entries("stdout", NOW, data, piece=piece)
    entries = [parse_entry(line) for line in written.split(b"\n")[:-1]]
    assert b"".join(entry.data for entry in entries if entry) == data
    assert all(entries)


def naive_tail(lines: list[tuple[str, bytes]], count: int) -> list[bytes]:
    """The last whole lines: each is its pieces."""
    groups: list[list[bytes]] = [[]]
    for tag, data in lines:
        groups[-1].append(data)
        if tag == "F":
            groups.append([])
    groups = [group for group in groups if group]
    kept = groups[len(groups) - count :] if count <= len(groups) else groups
    return [data for group in kept for data in group]


@given(
    st.lists(st.tuples(st.sampled_from("FFP"), st.sampled_from([b"a", b"bb", b"c" * 50]))),
    st.integers(1, 6),
)
def test_tail(lines: list[tuple[str, bytes]], count: int) -> None:
    fd = os.memfd_create("log")
    try:
        for tag, data in lines:
            os.write(fd, format_time(NOW) + b" stdout " + tag.encode() + b" " + data + b"\n")
        offset = tail_offset(fd, count)
        os.lseek(fd, offset, os.SEEK_SET)
        found = [parse_entry(line) for line in os.read(fd, 1 << 20).splitlines()]
        assert [entry.data.rstrip(b"\n") for entry in found if entry] == naive_tail(lines, count)
        assert tail_offset(fd, 0) == os.fstat(fd).st_size and tail_offset(fd, None) == 0
    finally:
        os.close(fd)


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(format_entries("stdout", NOW, b"x" * 99 + b"\n") * 5000)
    assert len(list(read_log(str(log), LogOptions(tail=1234)))) == 1234
    assert list(read_log(str(tmp_path / "none"))) == []


def test_since_and_stream(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        format_entries("stdout", NOW, b"old\n")
        + b"damaged line\n"
        + format_entries("stderr", NOW + 10, b"new\n")
    )
    assert [entry.data for entry in read_log(str(log), LogOptions(since_ns=NOW + 1))] == [b"new\n"]
    assert [entry.data for entry in read_log(str(log), LogOptions(stream="stdout"))] == [b"old\n"]


async def test_following_sees_what_comes_and_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    over = False
    wake = asyncio.Event()
    seen = []
    entries = follow_log(str(log), LogOptions(follow=True), lambda: over, wake)
    log.write_bytes(format_entries("stdout", NOW, b"one\n"))
    async for entry in entries:
        seen.append(entry.data)
        if entry.data == b"one\n":
            with log.open("ab") as file:
                file.write(format_entries("stdout", NOW, b"two\n")[:-3])
                file.flush()
                file.write(format_entries("stdout", NOW, b"two\n")[-3:])
            log.rename(tmp_path / "log.1")
            log.write_bytes(format_entries("stdout", NOW, b"three\n"))
        if entry.data == b"three\n":
            over = True
            wake.set()
    assert seen == [b"one\n", b"two\n", b"three\n"]
