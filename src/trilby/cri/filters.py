"""Filters of lists: an id or the beginning of one, and labels that must all match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

T = TypeVar("T")

#: Items of one message of a streamed list; a message with that many is some 3 MiB.
CHUNK: Final = 3000


def id_matches(some_id: str, prefix: str) -> bool:
    """Whether an id is meant; an empty prefix means every one."""
    return some_id.startswith(prefix)


def labels_match(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether every label of the selector is there with that value."""
    return all(labels.get(key) == value for key, value in selector.items())


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The items in sequences of at most ``size``; none for no items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
