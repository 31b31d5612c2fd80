"""Reading configuration files member by member, so that every complaint has a file and a line.

A wrong type is an error. A member that nobody asked for is a warning where the file's format
says so (registries.conf, registries.d) and an error where it must (policy.json).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from trilby.image.errors import ConfigError
from trilby.oci.codec import JsonValue

Keys = tuple[str | int, ...]
# The line of a member in a file, if it is known.
LineOf = Callable[[Keys], int | None]
T = TypeVar("T")
D = TypeVar("D")

_log = logging.getLogger(__name__)
_logged: set[str] = set()


class Section:
    """One table (object, mapping) of a configuration file."""

    def __init__(
        self, path: str, data: dict[str, JsonValue], line_of: LineOf, keys: Keys = ()
    ) -> None:
        self.path = path
        self.keys = keys
        self._data = data
        self._line_of = line_of
        self._asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def names(self) -> Iterator[str]:
        """The members' names, in the file's order."""
        return iter(self._data)

    def where(self, *keys: str | int) -> str:
        """``path:line:`` of a member, or of the section itself."""
        wanted = self.keys + keys
        while True:
            line = self._line_of(wanted)
            if line is not None:
                return f"{self.path}:{line}:"
            if not wanted:
                return f"{self.path}:"
            wanted = wanted[:-1]

    def error(self, message: str, *keys: str | int, hint: str = "") -> ConfigError:
        """An error about a member, to be raised."""
        return ConfigError(f"{self.where(*keys)} {message}", hint=hint)

    def string(self, name: str, default: str = "") -> str:
        return self._typed(name, str, "a string", default)

    def boolean(self, name: str, default: bool = False) -> bool:
        return self._typed(name, bool, "true or false", default)

    def strings(self, name: str) -> tuple[str, ...] | None:
        """A list of strings; None if it is not there."""
        found: list[JsonValue] | None = self._typed(name, list, "a list of strings", None)
        return None if found is None else tuple(self._strings_of(name, found))

    def _strings_of(self, name: str, values: list[JsonValue]) -> Iterator[str]:
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{name}[{index}] must be a string", name, index)
            yield value

    def string_map(self, name: str) -> dict[str, str]:
        """A table whose values are all strings."""
        section = self.section(name)
        return {} if section is None else {key: section.string(key) for key in section.names()}

    def section(self, name: str) -> Section | None:
        """A member table; None if it is not there."""
        found: dict[str, JsonValue] | None = self._typed(name, dict, "a table", None)
        return None if found is None else self._child(found, name)

    def sections(self, name: str) -> list[Section]:
        """A list of tables; empty if it is not there."""
        found: list[JsonValue] = self._typed(name, list, "a list of tables", [])
        children = []
        for index, value in enumerate(found):
            if not isinstance(value, dict):
                raise self.error(f"{name}[{index}] must be a table", name, index)
            children.append(self._child(value, name, index))
        return children

    def unknown(self) -> list[str]:
        """A complaint for each member that was not asked for; the table is read after this."""
        return [
            f"{self.where(name)} unknown key {'.'.join(map(str, (*self.keys, name)))!r}"
            for name in self._data
            if name not in self._asked
        ]

    def _child(self, data: dict[str, JsonValue], *keys: str | int) -> Section:
        return Section(self.path, data, self._line_of, self.keys + keys)

    def _typed(self, name: str, wanted: type[T], what: str, default: D) -> T | D:
        self._asked.add(name)
        if name not in self._data:
            return default
        value = self._data[name]
        if not isinstance(value, wanted):
            raise self.error(f"{name} must be {what}", name)
        return value


def load_toml(path: str | os.PathLike[str]) -> Section:
    """Read a TOML file; raises ConfigError, OSError."""
    # Here and not above: tomllib costs commands that read no configuration some milliseconds.
    from trilby.system.errors import ConfigSyntaxError
    from trilby.system.positions import toml_load

    try:
        data, positions = toml_load(path)
    except ConfigSyntaxError as error:
        raise ConfigError(error.message) from None
    return Section(os.fspath(path), data, positions.line)


def log_once(warnings: Iterable[str]) -> None:
    """Log each warning the first time that this process sees it."""
    for warning in warnings:
        if warning not in _logged:
            _logged.add(warning)
            _log.warning("%s", warning)
