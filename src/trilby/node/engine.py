"""Running checks: which ones, in threads where they may take time, and not for ever."""

from __future__ import annotations

import errno
import fnmatch
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from trilby.errors import TrilbyError
from trilby.node.errors import UnknownCheck
from trilby.node.model import Check, Outcome, Seen, Verdict, failed, skipped

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["LIMIT", "choose", "examine"]

#: Seconds that all slow checks together may take.
LIMIT: Final = 10.0


def choose(
    checks: Sequence[Check], only: Iterable[str] = (), skip: Iterable[str] = ()
) -> list[Check]:
    """The checks that were asked for: by id, by group, or by a pattern as ``sysctl-*``.

    Raises UnknownCheck.
    """
    only = tuple(only)
    wanted = set().union(*(_named(checks, name) for name in only))
    unwanted: set[str] = set().union(*(_named(checks, name) for name in skip))
    return [
        check
        for check in checks
        if (not only or check.id in wanted) and check.id not in unwanted
    ]  # fmt: skip


def _named(checks: Sequence[Check], name: str) -> set[str]:
    found = {
        check.id for check in checks if check.group == name or fnmatch.fnmatchcase(check.id, name)
    }
    if not found:
        import difflib

        known = [*(check.id for check in checks), *(check.group for check in checks)]
        near = difflib.get_close_matches(name, known, 1)
        raise UnknownCheck(
            f"there is no check {name}",
            hint=f"did you mean {near[0]}?" if near else "see trilby node check --list",
        )
    return found


def examine(
    node: Node, checks: Sequence[Check], *, network: bool = False, limit: float = LIMIT
) -> list[Outcome]:
    """What each check sees, in their order.

    Nothing is raised: what cannot be looked at is skipped for want of rights, else a failure. A
    look that takes longer than ``limit`` seconds is left alone in its thread, and is a failure.
    """
    found: dict[str, tuple[Seen, float]] = {}
    slow: list[tuple[Check, threading.Thread]] = []
    for check in checks:
        if check.network and not network:
            found[check.id] = skipped("not asked for: see --network"), 0.0
        elif check.slow:
            thread = threading.Thread(
                target=lambda check=check: found.__setitem__(check.id, _look(node, check)),
                name=check.id,
                daemon=True,
            )
            thread.start()
            slow.append((check, thread))
    for check in checks:
        if not check.slow and check.id not in found:
            found[check.id] = _look(node, check)
    deadline = time.monotonic() + limit
    for _, thread in slow:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = failed(f"no answer within {limit:g} seconds"), limit
    return [_outcome(check, *found.get(check.id, late)) for check in checks]


def _look(node: Node, check: Check) -> tuple[Seen, float]:
    begin = time.monotonic()
    try:
        seen = check.look(node)
    except OSError as error:
        said = (error.strerror or str(error)).removeprefix("openat2: ")
        what = f"{error.filename}: {said}" if error.filename else said
        if error.errno in (errno.EACCES, errno.EPERM):
            seen = skipped(f"{what}; this needs root")
        else:
            seen = failed(f"cannot be looked at: {what}")
    except TrilbyError as error:
        seen = failed(error.message, mend=error.hint)
    except ValueError as error:
        # A file of /proc, /sys or /etc is not as it always was.
        seen = failed(f"cannot be understood: {error}")
    return seen, time.monotonic() - begin


def _outcome(check: Check, seen: Seen, seconds: float) -> Outcome:
    bad = seen.verdict in (Verdict.WARN, Verdict.FAIL)
    return Outcome(
        id=check.id,
        title=check.title,
        group=check.group,
        verdict=seen.verdict,
        evidence=seen.evidence,
        why=check.why,
        mend=(seen.mend or check.mend) if bad else "",
        seconds=round(seconds, 4),
    )
