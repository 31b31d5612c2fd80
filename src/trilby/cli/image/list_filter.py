"""The filters of ``trilby image list``, with podman's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from trilby.image.service import Images, ImageSummary

#: What the library filters by, for prune as well: it needs the image's documents.
_OF_IMAGES: Final = ("until", "label", "label!")
_BOOLEANS: Final = ("dangling", "readonly")
#: By what image another one has to be older or newer.
_RELATIVE: Final = ("before", "since", "after")
_OF_ROWS: Final = (*_BOOLEANS, "reference", "id", "digest", *_RELATIVE)


class Row:
    """One name of one image."""

    __slots__ = ("image", "repository", "tag")

    def __init__(self, image: ImageSummary, name: str) -> None:
        self.image = image
        # A name with a digest has no tag: the column DIGEST shows what it was pulled by.
        head = name.partition("@")[0]
        repository, colon, tag = head.rpartition(":")
        self.repository = repository if colon and "/" not in tag else head or "<none>"
        self.tag = tag if colon and "/" not in tag else "<none>"


class Condition:
    """One filter. ``created`` is of the image that it names, in seconds since 1970."""

    __slots__ = ("created", "key", "value")

    def __init__(self, key: str, value: str, created: float | None = None) -> None:
        self.key = key
        self.value = value
        self.created = created


def split(filters: Sequence[str]) -> tuple[list[Condition], list[str]]:
    """Those that a row is looked at by, and those that the library knows."""
    rows: list[Condition] = []
    images: list[str] = []
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--filter {text}: write KEY=VALUE")
        if key in _OF_IMAGES:
            images.append(text)
        elif key not in _OF_ROWS:
            known = ", ".join((*_OF_ROWS, *_OF_IMAGES))
            raise click.UsageError(f"--filter {text}: there are {known}")
        elif key in _BOOLEANS and value not in ("true", "false"):
            raise click.UsageError(f"--filter {text}: true or false")
        else:
            rows.append(Condition(key, value))
    return rows, images


def whole(condition: Condition, images: Images) -> Condition:
    """With the time of the image that it names. Raises ImageNotFound."""
    if condition.key not in _RELATIVE:
        return condition
    from trilby.storage.records import parse_time

    created = parse_time(images.find(condition.value).created) / 1e9
    return Condition(condition.key, condition.value, created)


def fits(row: Row, condition: Condition) -> bool:
    """Whether a row is wanted."""
    from fnmatch import fnmatchcase

    image, key, value = row.image, condition.key, condition.value
    if key == "dangling":
        return image.dangling == (value == "true")
    if key == "readonly":
        return image.read_only == (value == "true")
    if key == "reference":
        return fits_name(row, value) or fnmatchcase(f"{row.repository}:{row.tag}", value)
    if key == "id":
        return image.id.startswith(value.removeprefix("sha256:"))
    if key == "digest":
        return image.digest.startswith(value)
    if condition.created is None:
        raise click.UsageError(f"--filter {key}={value}: a daemon does not tell it")
    return (
        image.created < condition.created if key == "before" else image.created > condition.created
    )


def fits_name(row: Row, name: str) -> bool:
    """A pattern matches a whole path or, as podman has it, the end of one at a slash."""
    from fnmatch import fnmatchcase

    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "*"
    if not fnmatchcase(row.tag, tag):
        return False
    return fnmatchcase(row.repository, repository) or fnmatchcase(row.repository, f"*/{repository}")
