"""What specs became: read from Ginkgo's JUnit files, and told as a table."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

__all__ = ["Spec", "read", "table"]

#: Ginkgo puts labels, which are in the name already, behind it; each spec has one at least.
_NAME = re.compile(r"^\[It\] (.*) \[[^\]]*\]$")
#: Of a message, what says where it comes from and not what it is.
_NOISE = re.compile(r"^(In \[|\[FAILED\]|$)")


class Spec(msgspec.Struct, frozen=True):
    """One spec that was run. ``state`` is passed, failed, timedout, panicked or interrupted."""

    name: str
    state: str
    seconds: float
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.state == "passed"


def read(path: Path) -> list[Spec]:
    """The specs of one file that were run; steps around the suite are no specs."""
    found = []
    for case in ElementTree.parse(path).iter("testcase"):
        named = _NAME.match(case.get("name", ""))
        state = case.get("status", "")
        if named is None or state in ("skipped", "pending"):
            continue
        problem = next((kind for kind in ("failure", "error") if case.find(kind) is not None), "")
        said = ""
        if problem:
            element = case.find(problem)
            assert element is not None
            said = element.get("message") or element.text or ""
        found.append(Spec(named[1], state, float(case.get("time", "0")), said))
    return found


def table(parts: Sequence[tuple[str, Iterable[Spec]]]) -> str:
    """A line for each part of a run, and below all that did not pass."""
    rows: list[tuple[str, ...]] = [("specs", "run", "passed", "failed", "seconds")]
    lost: list[Spec] = []
    for title, specs in parts:
        listed = list(specs)
        states = Counter(spec.passed for spec in listed)
        total = sum(spec.seconds for spec in listed)
        rows.append((title, *map(str, (len(listed), states[True], states[False], round(total)))))
        lost += [spec for spec in listed if not spec.passed]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        for row in rows
    ]
    for spec in lost:
        lines.append(f"{spec.state}: {spec.name}")
        lines += [f"    {line}" for line in _said(spec.message)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _said(message: str) -> list[str]:
    """The first lines of a message that say something."""
    lines = [line.strip() for line in message.splitlines()]
    return [line[:200] for line in lines if not _NOISE.match(line)][:3]
