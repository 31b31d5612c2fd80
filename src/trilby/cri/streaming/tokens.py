"""Tokens: what makes a URL good for one use within a minute."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from trilby.cri.errors import TooManyStreams

T = TypeVar("T")
_BYTES = 16


class Tokens(Generic[T]):
    """Values by random names, each of which can be taken once until it is too old."""

    def __init__(self, ttl: float, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._limit = limit
        self._clock = clock
        # In order of age, because all live equally long.
        self._waiting: dict[str, tuple[float, T]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, value: T) -> str:
        """A new token. Raises TooManyStreams when too many have not been used yet."""
        self._forget_old()
        if len(self._waiting) >= self._limit:
            raise TooManyStreams(
                f"{self._limit} exec, attach and port-forward requests wait for their clients",
                hint=f"try again in {self._ttl:g} s",
            )
        token = secrets.token_urlsafe(_BYTES)
        self._waiting[token] = (self._clock() + self._ttl, value)
        return token

    def take(self, token: str) -> T | None:
        """Its value, once; None for an unknown, used or expired one."""
        until, value = self._waiting.pop(token, (0.0, None))
        return value if value is not None and self._clock() < until else None

    def _forget_old(self) -> None:
        now = self._clock()
        while self._waiting:
            oldest = next(iter(self._waiting))
            if self._waiting[oldest][0] > now:
                return
            del self._waiting[oldest]


__all__ = ["Tokens"]
