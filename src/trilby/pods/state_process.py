"""Processes on record: is number 4711 still the process that was meant, and a pidfd for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from trilby.system.files import read_file


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 if there is none (a zombie too)."""
    try:
        # The name, in parentheses, may have spaces and parentheses itself.
        fields = read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if not fields or fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, start: int) -> bool:
    """Whether the process that had ``pid`` when it was recorded still runs."""
    return pid > 0 and start > 0 and start_time(pid) == start


def open_alive(pid: int, start: int) -> int | None:
    """A pidfd of the recorded process, None if it is gone; the caller closes it."""
    if pid <= 0:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_time(pid) == start:
        return pidfd
    os.close(pidfd)
    return None


def descendants(pid: int) -> Iterator[int]:
    """Children of a process, their children, and so on; those that appear meanwhile may lack."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                children = [int(number) for number in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            yield child
            yield from descendants(child)


def why_stuck(pid: int) -> str:
    """Where a process that does not die hangs in the kernel, in one line."""
    found = []
    for name in ("comm", "wchan", "stack"):
        try:
            with open(f"/proc/{pid}/{name}") as file:
                found.append(f"{name}: {' < '.join(file.read().split(chr(10))[:4]).strip()}")
        except OSError:
            continue
    return "; ".join(found)
