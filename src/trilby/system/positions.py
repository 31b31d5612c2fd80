"""TOML and JSON with line numbers: the standard parsers give the data, this finds where keys stand.

The keys are found by a scanner that knows strings, comments and brackets only, so it is right for
text that the parser accepted and harmless for any other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import TypeAlias

from trilby.system.errors import ConfigSyntaxError
from trilby.system.files import read_bytes_limited

Key: TypeAlias = "str | int"
Data: TypeAlias = "None | bool | int | float | str | list[Data] | dict[str, Data]"

CONFIG_LIMIT = 4 << 20

_AT_LINE = re.compile(r"\(at line (\d+)")


class Positions:
    """Where the keys of one document stand; lines and columns count from 1."""

    def __init__(
        self,
        path: str,
        lines: dict[tuple[Key, ...], int],
        columns: dict[tuple[Key, ...], int] | None = None,
    ) -> None:
        self.path = path
        self._lines = lines
        self._columns = columns or {}

    def line(self, key: Sequence[Key]) -> int | None:
        """The line of ("table", "key", 0), of its nearest known parent, or None."""
        path = tuple(key)
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def where(self, key: Sequence[Key] = ()) -> str:
        """``path:line`` for a message, ``path`` when the line is not known."""
        line = self.line(key)
        return self.path if line is None else f"{self.path}:{line}"

    def place(self, key: Sequence[Key] = ()) -> str:
        """``path:line:column`` of the key or its nearest known parent, as far as it is known."""
        path = tuple(key)
        while path and path not in self._lines:
            path = path[:-1]
        column = self._columns.get(path)
        return self.where(path) if column is None else f"{self.where(path)}:{column}"

    def keys(self) -> list[tuple[Key, ...]]:
        """All keys that have a position, in their order."""
        return list(self._lines)


def toml_load(path: str | os.PathLike[str]) -> tuple[dict[str, Data], Positions]:
    """Read a TOML file; raises ConfigSyntaxError with file and line, and OSError."""
    name = os.fspath(path)
    return toml_loads(_text(name), name)


def toml_loads(text: str, name: str) -> tuple[dict[str, Data], Positions]:
    """The same for text; ``name`` is for messages."""
    import tomllib

    from trilby.system.positions_toml import toml_places

    try:
        data: dict[str, Data] = tomllib.loads(text)
        places = toml_places(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = _AT_LINE.search(said)
        line = int(found[1]) if found else text.count("\n") + 1
        raise ConfigSyntaxError(f"{name}:{line}: {said}") from error
    except RecursionError as error:
        raise ConfigSyntaxError(f"{name}:1: nested too deep") from error
    lines = {key: line for key, (line, _) in places.items()}
    columns = {key: column for key, (_, column) in places.items()}
    return data, Positions(name, lines, columns)


def json_load(path: str | os.PathLike[str]) -> tuple[Data, Positions]:
    """Read a JSON file; raises ConfigSyntaxError with file and line, and OSError."""
    name = os.fspath(path)
    return json_loads(_text(name), name)


def json_loads(text: str, name: str) -> tuple[Data, Positions]:
    """The same for text; ``name`` is for messages."""
    from trilby.system.positions_json import json_lines

    try:
        data: Data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigSyntaxError(
            f"{name}:{error.lineno}: {error.msg}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise ConfigSyntaxError(f"{name}:1: nested too deep") from error
    return data, Positions(name, json_lines(text))


def _text(name: str) -> str:
    data = read_bytes_limited(name, CONFIG_LIMIT)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigSyntaxError(f"{name}:{line}: it is not UTF-8 text") from error
