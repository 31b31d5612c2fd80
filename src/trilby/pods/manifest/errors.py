"""What can be wrong with a Pod manifest, each with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trilby.errors import InvalidInput


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding: where (1-based line and column, 0 if unknown), which field, what."""

    line: int
    column: int
    path: str
    message: str

    def at(self, source: str) -> str:
        place = f"{source}:{self.line}:{self.column}" if self.line else source
        field = f"{self.path}: " if self.path else ""
        return f"{place}: {field}{self.message}"


class InvalidManifest(InvalidInput):
    """A Pod manifest that cannot be run as written; ``problems`` has every finding."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(problem.at(source) for problem in self.problems))
