"""Something that ``trilby config check`` has to tell: where, what, why it matters, what to do."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from trilby.cri.config_load import BUILT_IN, Loaded
from trilby.errors import TrilbyError
from trilby.pods.config_layers import Mistake

__all__ = ["Finding", "Severity", "about", "of_error", "of_mistake", "of_text", "told"]

_PLACED: Final = re.compile(r"(/[^\n]*?)(?::(\d+))?(?::(\d+))?: (.*)", re.DOTALL)
_PLACE: Final = re.compile(r"(/.*?)(?::(\d+))?(?::(\d+))?", re.DOTALL)


class Severity(enum.StrEnum):
    """An error keeps something from working; a warning does not, or not yet."""

    ERROR = "error"
    WARNING = "warning"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``path``, ``line`` and ``column`` as far as they are known: "" and 0 otherwise.

    ``origin`` says where a value comes from that stands in no file.
    """

    severity: Severity = Severity.ERROR
    path: str = ""
    line: int = 0
    column: int = 0
    origin: str = ""
    key: str = ""
    what: str
    why: str = ""
    hint: str = ""

    @property
    def place(self) -> str:
        """``path:line:column``, or what is known instead of it."""
        if not self.path:
            return self.origin or "this host"
        parts = [self.path, *(str(each) for each in (self.line, self.column) if each)]
        return ":".join(parts)

    def text(self) -> str:
        """For people: one line, and what belongs to it below."""
        lines = [f"{self.place}: {self.severity}: {self.what}"]
        lines += [f"    why: {self.why}"] * bool(self.why)
        lines += [f"    do: {self.hint}"] * bool(self.hint)
        return "\n".join(lines)


def of_mistake(mistake: Mistake) -> Finding:
    """A mistake in trilby.conf."""
    return _at(mistake.place, key=mistake.key, what=mistake.text, hint=mistake.hint)


def of_text(text: str, hint: str = "", severity: Severity = Severity.ERROR) -> Finding:
    """A message as the readers of other files write it: ``path:line: text``."""
    found = _PLACED.fullmatch(text)
    if not found:
        return Finding(what=text, hint=hint, severity=severity)
    path, line, column, what = found.groups()
    return Finding(
        severity=severity,
        path=path,
        line=int(line or 0),
        column=int(column or 0),
        what=what,
        hint=hint,
    )


def of_error(error: TrilbyError, severity: Severity = Severity.ERROR) -> Finding:
    """The same for an error."""
    return of_text(error.message, error.hint, severity)


def about(
    loaded: Loaded,
    key: str,
    what: str,
    *,
    why: str = "",
    hint: str = "",
    severity: Severity = Severity.ERROR,
) -> Finding:
    """Something about an option's value, where it was set; ``what`` follows the key."""
    place = loaded.origins.get(key, BUILT_IN)
    return _at(place, key=key, what=f"{key} {what}", why=why, hint=hint, severity=severity)


def told(read: Callable[[], Sequence[str]]) -> Iterator[Finding]:
    """What a reader of a file complains of: its warnings, or its error."""
    try:
        complaints = read()
    except TrilbyError as error:
        yield of_error(error)
    else:
        yield from map(of_text, complaints)


def _at(
    place: str,
    *,
    key: str,
    what: str,
    why: str = "",
    hint: str = "",
    severity: Severity = Severity.ERROR,
) -> Finding:
    found = _PLACE.fullmatch(place)
    path, line, column = found.groups() if found else ("", None, None)
    return Finding(
        severity=severity,
        path=path,
        line=int(line or 0),
        column=int(column or 0),
        origin="" if found else place,
        key=key,
        what=what,
        why=why,
        hint=hint,
    )
