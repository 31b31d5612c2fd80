"""The messages of lists, made once for each status: what has not changed is the same object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar


class HasId(Protocol):
    """A status."""

    @property
    def id(self) -> str: ...


S = TypeVar("S", bound=HasId)
M = TypeVar("M")


class Listed(Generic[S, M]):
    """Keeps what ``make`` made of the statuses of the last list."""

    def __init__(self, make: Callable[[S], M]) -> None:
        self._make = make
        self._known: dict[str, tuple[S, M]] = {}

    def all(self, statuses: Iterable[S]) -> list[tuple[S, M]]:
        """Each status with its message; give it whole lists, the rest is forgotten."""
        found = {}
        for status in statuses:
            known = self._known.get(status.id)
            if known is None or known[0] is not status:
                known = (status, self._make(status))
            found[status.id] = known
        self._known = found
        return list(found.values())
