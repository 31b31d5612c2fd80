"""rpmlint, with a project's filters, and a verdict."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from trilby.rpm.errors import LintFailed
from trilby.rpm.tools import HOST, Inside, Tools
from trilby.system import process

__all__ = ["Finding", "Linted", "lint"]

_FINDING: Final = re.compile(
    r"^(?P<where>.+?): (?P<level>[EWI]): (?P<check>[\w-]+)(?: (?P<detail>.*))?$"
)
_TOTAL: Final = re.compile(r"(\d+) errors?, (\d+) warnings?, (\d+) filtered")


class Finding(msgspec.Struct, frozen=True):
    """One line of rpmlint: ``level`` is error, warning or info; ``where`` a package or file."""

    where: str
    level: str
    check: str
    detail: str


class Linted(msgspec.Struct, frozen=True):
    """The verdict; ``filtered`` is how many findings the filters explain."""

    findings: tuple[Finding, ...]
    errors: int
    warnings: int
    filtered: int


_LEVELS: Final = {"E": "error", "W": "warning", "I": "info"}


def lint(paths: Sequence[str], *, config: str = "", tools: Tools = HOST) -> Linted:
    """Check packages and specs; ``config`` is a TOML file for rpmlint.

    Raises LintFailed if rpmlint itself could not do it, and ToolMissing.
    """
    files = [os.path.abspath(path) for path in paths]
    command = ["rpmlint"]
    if config:
        config = os.path.abspath(config)
        command += ["--config", config]
    folders = {os.path.dirname(path) for path in (*files, config) if path}
    inside = Inside(shared=tuple(sorted(folders)))
    done = tools.run([*command, *files], inside, check=False)
    return _verdict(done)


def _verdict(done: process.Completed) -> Linted:
    text = done.stdout.decode(errors="replace")
    total = _TOTAL.search(text)
    if total is None:
        said = (done.stderr.decode(errors="replace") + text).strip()
        raise LintFailed(f"rpmlint did not come to an end: {said[-2000:]}")
    findings = []
    for line in text.splitlines():
        if match := _FINDING.match(line):
            level = _LEVELS[match["level"]]
            findings.append(Finding(match["where"], level, match["check"], match["detail"] or ""))
    return Linted(tuple(findings), *(int(number) for number in total.groups()))
