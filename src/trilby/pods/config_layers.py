"""The values that files and flags give for options, laid one over the other, with their origins.

Nothing is raised on the way: mistakes are collected, each with file, line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from trilby.errors import TrilbyError
from trilby.pods.config_forms import handler_name
from trilby.pods.config_option import HANDLERS, NAME, Declared, Value
from trilby.pods.config_values import WrongItem, convert
from trilby.pods.errors import InvalidEngineConfig
from trilby.system.errors import ConfigSyntaxError
from trilby.system.positions import Data, Positions, toml_load

__all__ = ["FLAG", "Layers", "Mistake", "close_to", "dotted", "pattern_of"]

FLAG: Final = "flag"

Path = tuple[str, ...]

_SYNTAX: Final = re.compile(r"(.*?:\d+): (.*) \(at line \d+, column (\d+)\)", re.DOTALL)
_HANDLERS: Final = tuple(HANDLERS.split("."))


class Mistake(msgspec.Struct, frozen=True):
    """Something wrong in a file or flag.

    ``place`` is ``path:line:column``, as far as it is known, ``key`` the option's or table's.
    ``text`` begins with the key where there is one.
    """

    place: str
    key: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.place}: {self.text}{hint}"


def dotted(key: Iterable[str]) -> str:
    return ".".join(key)


def pattern_of(key: str) -> str:
    """The key as it is declared: a handler's name is NAME there."""
    if not key.startswith(HANDLERS + "."):
        return key
    handler, _, name = key.removeprefix(HANDLERS + ".").rpartition(".")
    return f"{HANDLERS}.{NAME}.{name}" if handler else f"{HANDLERS}.{NAME}"


class Layers:
    """What was said so far; later files and flags replace what earlier ones said.

    ``options`` are read; ``others`` are keys that other programs read from the same files.
    ``hints`` say what to do about keys that are neither.
    ``values`` and ``origins`` have full keys, with the handlers' names.
    """

    def __init__(
        self,
        options: Mapping[str, Declared],
        others: Iterable[str] = (),
        hints: Mapping[str, str] | None = None,
    ) -> None:
        self.options = options
        self.values: dict[str, Value] = {}
        self.origins: dict[str, str] = {}
        self.handlers: dict[str, str] = {}
        self.mistakes: list[Mistake] = []
        self.unknown: list[Mistake] = []
        self.sources: list[str] = []
        self._others = frozenset(others)
        self._hints = hints or {}
        self._tables = frozenset(
            dotted(parts[:end])
            for parts in (key.split(".") for key in (*options, *self._others))
            for end in range(1, len(parts))
        )

    def read(self, path: str) -> None:
        """Lay a file over what is there."""
        self.sources.append(path)
        try:
            data, positions = toml_load(path)
        except ConfigSyntaxError as error:
            self.mistakes.append(_syntax_mistake(error))
        except OSError as error:
            text = f"cannot be read: {error.strerror}"
            self.mistakes.append(Mistake(f"{path}:1", "", text))
        except TrilbyError as error:
            self.mistakes.append(Mistake(f"{path}:1", "", error.message))
        else:
            self._table(data, (), positions)

    def give(self, key: str, value: object, origin: str = FLAG) -> None:
        """Lay one value over what is there, as a flag does."""
        declared = self.options.get(pattern_of(key))
        if declared is None:
            self.mistakes.append(self._unknown(key, origin))
            return
        if key.startswith(HANDLERS + "."):
            self.handlers.setdefault(key[len(HANDLERS) + 1 :].rpartition(".")[0], origin)
        self._set(key, declared, value, origin)

    def raise_mistakes(self) -> None:
        """Raises InvalidEngineConfig about the first mistake, if there is one."""
        if self.mistakes:
            first, *more = self.mistakes
            hint = first.hint
            if more:
                count = f"{len(more)} more mistake{'s' * (len(more) > 1)}"
                hint = f"{hint}{'; ' * bool(hint)}{count}: see trilby config check"
            raise InvalidEngineConfig(f"{first.place}: {first.text}", hint=hint)

    def origin(self, key: str) -> str:
        """``path:line:column`` or ``flag`` of an option that was given, else ""."""
        return self.origins.get(key, "")

    def _table(self, table: Mapping[str, Data], above: Path, positions: Positions) -> None:
        for name, value in table.items():
            path = (*above, name)
            key, pattern = dotted(path), dotted(_pattern(path))
            place = positions.place(path)
            if "." in name and above != _HANDLERS:
                self.unknown.append(Mistake(place, key, f"unknown option {name!r}"))
            elif pattern in self.options:
                self._set(key, self.options[pattern], value, place, _Items(path, positions))
            elif pattern in self._others:
                continue
            elif pattern not in self._tables:
                self.unknown.append(self._unknown(key, place, path))
            elif not isinstance(value, dict):
                self.mistakes.append(Mistake(place, key, f"{key} is not a table"))
            elif pattern == f"{HANDLERS}.{NAME}":
                self._handler(name, value, path, positions)
            else:
                self._table(value, path, positions)

    def _handler(
        self, name: str, table: Mapping[str, Data], path: Path, positions: Positions
    ) -> None:
        place = positions.place(path)
        if problem := handler_name(name):
            self.mistakes.append(
                Mistake(place, dotted(path), f"{dotted(path)}: {name!r} {problem}")
            )
            return
        self.handlers.setdefault(name, place)
        self._table(table, path, positions)

    def _set(
        self, key: str, declared: Declared, value: object, place: str, items: _Items | None = None
    ) -> None:
        try:
            self.values[key] = convert(declared, value)
        except ValueError as error:
            if isinstance(error, WrongItem) and items is not None:
                place = items.place(error.index)
            self.mistakes.append(Mistake(place, key, f"{key} {error}"))
        else:
            self.origins[key] = place

    def _unknown(self, key: str, place: str, path: Path = ()) -> Mistake:
        path = path or tuple(key.split("."))
        known = {*self.options, *self._others, *self._tables}
        hint = self._hints.get(dotted(_pattern(path))) or close_to(path, known)
        return Mistake(place, key, f"unknown option {key}", hint)


class _Items(msgspec.Struct, frozen=True):
    """Where the items of a list stand."""

    path: Path
    positions: Positions

    def place(self, index: int) -> str:
        return self.positions.place((*self.path, index))


def close_to(path: Iterable[str], known: Iterable[str]) -> str:
    """What may have been meant by an unknown key: ``did you mean ...?``, or ""."""
    import difflib

    key = dotted(_pattern(tuple(path)))
    table, _, name = key.rpartition(".")
    if not table:
        return "the tables of this file are [trilby] and below"
    elsewhere = sorted(each for each in known if each.endswith(f".{name}"))
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    near = [each for each in known if each.rpartition(".")[0] == table]
    names = difflib.get_close_matches(name, [each.rpartition(".")[2] for each in near], 1, 0.7)
    return f"did you mean {names[0]}?" if names else ""


def _pattern(path: Path) -> Path:
    if path[:3] == _HANDLERS and len(path) > 3:
        return (*_HANDLERS, NAME, *path[4:])
    return path


def _syntax_mistake(error: ConfigSyntaxError) -> Mistake:
    """The parser tells the column at the end of its words."""
    found = _SYNTAX.fullmatch(error.message)
    if found:
        return Mistake(f"{found[1]}:{found[3]}", "", found[2])
    place, _, text = error.message.partition(": ")
    return Mistake(place, "", text)
