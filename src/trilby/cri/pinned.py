"""Images that the kubelet's garbage collection leaves alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Pinned:
    """Patterns as CRI-O has them: exact, ``glob*`` at the end, ``*keyword*`` anywhere."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)

    def replace(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)

    def matches(self, names: Iterable[str]) -> bool:
        """Whether one of an image's names is pinned."""
        return any(_fits(name, pattern) for name in names for pattern in self._patterns)


def _fits(name: str, pattern: str) -> bool:
    if len(pattern) > 2 and pattern.startswith("*") and pattern.endswith("*"):
        return pattern[1:-1] in name
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern
