"""What statistics remember from one reading to the next, and forget when nobody asks any more."""

from __future__ import annotations

import time
from collections.abc import Container
from typing import Final, Generic, TypeVar

import msgspec

from trilby.errors import TrilbyError
from trilby.pods.container_rootfs import RootfsProvider
from trilby.pods.model_status import FilesystemStats

T = TypeVar("T")

# Nobody has asked for so long: the container is gone, or so is whoever watched it.
_FORGET_SECONDS: Final = 600.0
# Two readings closer than this give no rate worth the name.
_SHORTEST_NANOSECONDS: Final = 10_000_000
# A walk of a tree is good for so many times what it took, but at least and at most so long.
_LAYER_FACTOR: Final = 100.0
_LAYER_LEAST_SECONDS: Final = 10.0
_LAYER_MOST_SECONDS: Final = 60.0


class Remembered(Generic[T]):
    """Values by key, each with when it was put here (``time.monotonic()``)."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, T]] = {}
        self._looked = time.monotonic()

    def get(self, key: str, max_age: float = _FORGET_SECONDS) -> T | None:
        """The value, None when there is none or it is older than ``max_age`` seconds."""
        found = self._values.get(key)
        if found is None or time.monotonic() - found[0] >= max_age:
            return None
        return found[1]

    def put(self, key: str, value: T) -> None:
        now = time.monotonic()
        self._values[key] = now, value
        if now - self._looked > _FORGET_SECONDS:
            self._looked = now
            since = now - _FORGET_SECONDS
            self._values = {key: one for key, one in self._values.items() if one[0] > since}

    def values(self) -> list[T]:
        """All that is remembered."""
        return [value for _, value in self._values.values()]

    def keep(self, keys: Container[str]) -> None:
        """Forget all others."""
        self._values = {key: one for key, one in self._values.items() if key in keys}

    def __len__(self) -> int:
        return len(self._values)


class _Reading(msgspec.Struct, frozen=True):
    time: int
    usage: int
    rate: int | None


class CpuRates:
    """How many cores (times 10^9) are used now, from two readings of one cgroup."""

    def __init__(self) -> None:
        self._last: Remembered[_Reading] = Remembered()

    def rate(self, cgroup: str, time_ns: int, usage: int) -> int | None:
        """``usage`` is processor time in ns. None for the first reading of a cgroup."""
        last = self._last.get(cgroup)
        if last is None or usage < last.usage or time_ns < last.time:  # a new one of that name
            self._last.put(cgroup, _Reading(time_ns, usage, None))
            return None
        elapsed = time_ns - last.time
        if elapsed < _SHORTEST_NANOSECONDS:
            return last.rate
        rate = (usage - last.usage) * 10**9 // elapsed
        self._last.put(cgroup, _Reading(time_ns, usage, rate))
        return rate

    def keep(self, cgroups: Container[str]) -> None:
        """Forget all others."""
        self._last.keep(cgroups)


class _Walk(msgspec.Struct, frozen=True):
    stats: FilesystemStats
    good_for: float


class LayerUsage:
    """What containers wrote. Trees are walked for that, so an answer is good for some seconds.

    That time grows with what the walk took, so that large trees do not keep the disk busy.
    """

    def __init__(self, rootfs: RootfsProvider) -> None:
        self._rootfs = rootfs
        self._walks: Remembered[_Walk] = Remembered()

    def usage(self, container_id: str) -> FilesystemStats | None:
        """None when it is gone; ``timestamp`` says when it was looked at."""
        known = self._walks.get(container_id)
        if known is not None and self._walks.get(container_id, known.good_for) is not None:
            return known.stats
        started = time.monotonic()
        try:
            path, size, inodes = self._rootfs.usage(container_id)
        except (OSError, TrilbyError):
            return None
        stats = FilesystemStats(
            timestamp=time.time_ns(), mountpoint=path, used_bytes=size, inodes_used=inodes
        )
        good_for = (time.monotonic() - started) * _LAYER_FACTOR
        good_for = min(max(good_for, _LAYER_LEAST_SECONDS), _LAYER_MOST_SECONDS)
        self._walks.put(container_id, _Walk(stats, good_for))
        return stats

    def keep(self, containers: Container[str]) -> None:
        """Forget all others."""
        self._walks.keep(containers)
