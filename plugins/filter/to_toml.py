"""TOML out of a mapping, for the configuration files of container tools."""

from __future__ import annotations

import json

from ansible.errors import AnsibleFilterError

__all__ = ["FilterModule", "to_toml"]


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, object]:
        return {"to_toml": to_toml}


def to_toml(tables: object) -> str:
    """A document of a mapping: lists of mappings are arrays of tables, mappings are tables.

    Keys and values keep the order that they have. Raises AnsibleFilterError for what TOML has not.
    """
    if not isinstance(tables, dict):
        raise AnsibleFilterError(f"to_toml wants a mapping, not {type(tables).__name__}")
    return "\n".join(_table(tables, ())) + "\n"


def _table(table: dict[str, object], path: tuple[str, ...]) -> list[str]:
    """Plain values come first: after a header everything belongs to it."""
    lines: list[str] = []
    inner: list[str] = []
    for key, value in table.items():
        place = (*path, str(key))
        if isinstance(value, dict):
            inner += ["", f"[{_dotted(place)}]", *_table(value, place)]
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for each in value:
                inner += ["", f"[[{_dotted(place)}]]", *_table(each, place)]
        else:
            lines.append(f"{_key(str(key))} = {_value(value, place)}")
    # A table of tables only needs no header of its own, but one does no harm.
    return lines + inner


def _value(value: object, place: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # What JSON escapes TOML's basic strings escape the same way.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, list):
        return "[" + ", ".join(_value(each, place) for each in value) + "]"
    raise AnsibleFilterError(f"{_dotted(place)}: TOML has nothing for {value!r}")


def _dotted(place: tuple[str, ...]) -> str:
    return ".".join(map(_key, place))


def _key(key: str) -> str:
    plain = key and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in key)
    return key if plain else json.dumps(key, ensure_ascii=False)
