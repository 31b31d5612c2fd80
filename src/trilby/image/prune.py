"""Filters that say which images may go: ``until``, ``label``, ``label!``, ``dangling``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trilby.errors import TrilbyError
from trilby.image.copy_errors import InvalidFilter
from trilby.image.inspect import image_config
from trilby.storage.records import parse_time

if TYPE_CHECKING:
    from trilby.storage.records import Image
    from trilby.storage.store import Store

_AGE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class ImageFilter:
    """All of several conditions."""

    def __init__(self) -> None:
        self.before: float | None = None
        self.labels: list[tuple[str, str | None]] = []
        self.not_labels: list[tuple[str, str | None]] = []
        self.dangling: bool | None = None

    @classmethod
    def parse(cls, filters: Sequence[str], now: float) -> ImageFilter:
        """``now`` is in seconds since 1970. Raises InvalidFilter."""
        parsed = cls()
        for text in filters:
            negated = "!=" in text and text.index("!=") < text.index("=")
            key, _, value = text.partition("!=" if negated else "=")
            if key == "until" and not negated:
                parsed.before = moment(value, now)
            elif key == "label":
                name, equals, wanted = value.partition("=")
                labels = parsed.not_labels if negated else parsed.labels
                labels.append((name, wanted if equals else None))
            elif key == "dangling" and value in ("true", "false") and not negated:
                parsed.dangling = value == "true"
            else:
                raise InvalidFilter(
                    f"invalid filter {text!r}",
                    hint="use until=AGE, label=KEY[=VALUE], label!=KEY[=VALUE] or dangling=true",
                )
        return parsed

    def matches(self, store: Store, image: Image) -> bool:
        if self.before is not None and parse_time(image.created) / 1e9 >= self.before:
            return False
        if self.dangling is not None and self.dangling == bool(image.names):
            return False
        if not self.labels and not self.not_labels:
            return True
        try:
            labels = image_config(store, image).config.labels
        except TrilbyError:
            # Nothing is known about its labels, so it is not what the filter asks for.
            return False
        return all(_has(labels, label) for label in self.labels) and not any(
            _has(labels, label) for label in self.not_labels
        )


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of an age (``24h``, ``1h30m``), a number or an RFC 3339 time.

    Raises InvalidFilter.
    """
    if text.isdecimal():
        return float(text)
    if re.fullmatch(rf"(?:{_AGE.pattern})+", text):
        return now - sum(float(n) * _SECONDS[unit] for n, unit in _AGE.findall(text))
    try:
        return parse_time(text if "T" in text else f"{text}T00:00:00Z") / 1e9
    except ValueError:
        raise InvalidFilter(
            f"invalid time {text!r} in a filter", hint="write 24h, or 2024-01-31T12:00:00Z"
        ) from None


def _has(labels: dict[str, str], wanted: tuple[str, str | None]) -> bool:
    name, value = wanted
    return name in labels and (value is None or labels[name] == value)
