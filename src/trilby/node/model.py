"""What a check is, and what comes out of one."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = [
    "STATUS", "Check", "Outcome", "Seen", "Verdict", "at", "failed", "passed", "skipped",
    "status_of", "warned", "worst",
]  # fmt: skip


class Verdict(enum.StrEnum):
    """A failure keeps pods from running as they should; a warning does not, or not yet."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


#: What a command that tells verdicts exits with.
STATUS: Final = {Verdict.PASS: 0, Verdict.SKIP: 0, Verdict.WARN: 1, Verdict.FAIL: 2}
_ORDER: Final = (Verdict.SKIP, Verdict.PASS, Verdict.WARN, Verdict.FAIL)


class Seen(msgspec.Struct, frozen=True):
    """What a look at the host gave.

    ``evidence`` are sentences, ``path:line: text`` where a file says it. ``mend`` is a command for
    a root shell, or what to do in words; "" stands for the check's own.
    """

    verdict: Verdict
    evidence: tuple[str, ...]
    mend: str = ""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One question about a host.

    ``id`` stays as it is for ever. ``slow`` looks run programs, or ask what may hang (a disk, a
    peer): they run in threads and have a time limit. ``network``: only when it is asked for.
    """

    id: str
    title: str
    group: str
    why: str
    look: Callable[[Node], Seen]
    mend: str = ""
    slow: bool = False
    network: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A check with what it saw. ``mend`` is "" where nothing is to be mended."""

    id: str
    title: str
    group: str
    verdict: Verdict
    evidence: tuple[str, ...]
    why: str
    mend: str
    seconds: float


def passed(*evidence: str) -> Seen:
    return Seen(Verdict.PASS, evidence)


def warned(*evidence: str, mend: str = "") -> Seen:
    return Seen(Verdict.WARN, evidence, mend)


def failed(*evidence: str, mend: str = "") -> Seen:
    return Seen(Verdict.FAIL, evidence, mend)


def skipped(*evidence: str) -> Seen:
    return Seen(Verdict.SKIP, evidence)


def worst(seen: list[Seen], otherwise: Seen) -> Seen:
    """Several looks as one: the worst verdict, the evidence of those that have it."""
    if not seen:
        return otherwise
    verdict = max((each.verdict for each in seen), key=_ORDER.index)
    those = [each for each in seen if each.verdict is verdict]
    evidence = tuple(line for each in those for line in each.evidence)
    mends = dict.fromkeys(each.mend for each in those if each.mend)
    return Seen(verdict, evidence, "; ".join(mends))


def status_of(outcomes: list[Outcome]) -> int:
    """0: nothing to do, 1: warnings, 2: failures."""
    return max((STATUS[each.verdict] for each in outcomes), default=0)


def at(path: str, line: int, text: str) -> str:
    """Evidence out of a file; line 0 is not told."""
    return f"{path}:{line}: {text}" if line else f"{path}: {text}"
