"""Descendants that lost their parent: adopt them as a subreaper, and take their exit statuses."""

from __future__ import annotations

import os

from trilby.system.process_child import own_children, spawn_guard


def become_subreaper() -> None:
    """Make orphaned descendants (a double fork's) children of this process; prctl(2)."""
    from trilby.system.syscalls import PR_SET_CHILD_SUBREAPER, prctl

    prctl(PR_SET_CHILD_SUBREAPER, 1)


def reap(pid: int) -> int | None:
    """Take the exit status of an adopted child, negative for a signal.

    None when it still runs, or is not a child of this process (any more).
    """
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if found else None


def claim(pid: int) -> None:
    """Leave an adopted child's status to the caller: reap_orphans() does not take it any more."""
    with spawn_guard:
        own_children.add(pid)


def unclaim(pid: int) -> None:
    """Take back claim(), after the status was taken."""
    with spawn_guard:
        own_children.discard(pid)


def reap_orphans() -> dict[int, int]:
    """Take the statuses of all ended children that nobody here started: {process number: status}.

    Children of run(), arun(), aspawn() and Child are left to them, claimed ones to the claimer.
    """
    reaped = {}
    # While this is held nobody can start a child that is not yet on the list.
    with spawn_guard:
        for pid in children() - own_children:
            status = reap(pid)
            if status is not None:
                reaped[pid] = status
    return reaped


def children() -> set[int]:
    """The process numbers of this process' children, those that ended included."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", "rb") as file:
                found.update(map(int, file.read().split()))
        except FileNotFoundError:
            continue
    return found
