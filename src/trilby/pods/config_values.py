"""A value in trilby.conf as the value that its field holds, and back as TOML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from trilby.pods.config_option import Declared, Kind, Value

__all__ = ["WrongItem", "convert", "duration_text", "toml_text"]

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)", re.ASCII)
_LONGEST: Final = 1e9
# Limits of the kernel, and numbers of JSON, have 64 bits.
_LARGEST: Final = (1 << 63) - 1


class WrongItem(ValueError):
    """One item of a list is wrong; ``index`` says which."""

    def __init__(self, text: str, index: int) -> None:
        super().__init__(text)
        self.index = index


def convert(declared: Declared, data: object) -> Value:
    """What TOML, or a flag, gave for an option as what its field holds.

    Raises ValueError, whose text follows the option's key: ``is not a text``.
    """
    match declared.kind:
        case Kind.TRUTH:
            if not isinstance(data, bool):
                raise ValueError("is neither true nor false")
            return data
        case Kind.NUMBER | Kind.PORT:
            return _number(declared, data)
        case Kind.MODE:
            return _mode(data)
        case Kind.DURATION:
            return _duration(declared, data)
        case Kind.TEXT:
            return _text(declared, data)
        case Kind.TEXTS:
            return tuple(_texts(declared, data))
        case Kind.PAIRS:
            return _pairs(_texts(declared, data))


def _number(declared: Declared, data: object) -> int:
    port = declared.kind is Kind.PORT
    if port and isinstance(data, str) and data.isascii() and data.isdigit() and len(data) < 6:
        data = int(data)  # CRI-O writes some ports as texts
    if not isinstance(data, int) or isinstance(data, bool):
        raise ValueError("is not a whole number")
    lowest = 0 if port else declared.option.lowest
    highest = 65535 if port else declared.option.highest
    lowest = -_LARGEST if lowest is None else lowest
    highest = _LARGEST if highest is None else highest
    if data < lowest:
        raise ValueError(f"is {data}; the smallest possible is {lowest}")
    if data > highest:
        raise ValueError(f"is {data}; the largest possible is {highest}")
    return data


def _mode(data: object) -> int:
    if not isinstance(data, str) or not re.fullmatch(r"0?[0-7]{3}", data, re.ASCII):
        raise ValueError('is not a file mode as "0660"')
    return int(data, 8)


def _duration(declared: Declared, data: object) -> float:
    if isinstance(data, int | float) and not isinstance(data, bool):
        seconds = float(data)
    elif isinstance(data, str) and data.strip() in ("", "0"):
        seconds = 0.0
    elif isinstance(data, str) and not _PART.sub("", data.strip()):
        seconds = sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(data))
    else:
        raise ValueError('is not a duration as "90s" or "1h30m", nor a number of seconds')
    lowest = declared.option.lowest or 0
    if not lowest <= seconds <= _LONGEST:
        raise ValueError(f"is {data}; possible is {lowest} to {_LONGEST:.0f} seconds")
    return seconds


def _text(declared: Declared, data: object) -> str:
    if not isinstance(data, str):
        raise ValueError("is not a text")
    if declared.choices and data not in declared.choices:
        raise ValueError(f"is {_no_choice(data, declared.choices)}")
    _check_form(declared, data, "is")
    return declared.enum(data) if declared.enum else data


def _texts(declared: Declared, data: object) -> list[str]:
    if isinstance(data, str) and declared.option.single:
        data = [data]
    if not isinstance(data, list | tuple):
        raise ValueError("is not a list of texts")
    for index, word in enumerate(data):
        if not isinstance(word, str):
            raise WrongItem("is not a list of texts", index)
    words = [str(word) for word in data]
    for index, word in enumerate(words):
        if declared.choices and word not in declared.choices:
            raise WrongItem(f"has {_no_choice(word, declared.choices)}", index)
        try:
            _check_form(declared, word, "has")
        except ValueError as error:
            raise WrongItem(str(error), index) from None
    return words


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """CRI-O writes maps as lists of ``name=value``."""
    found = {}
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not name.strip() or not equals:
            raise WrongItem(f"has {word!r}, which is not name=value", index)
        found[name.strip()] = value.strip()
    return found


def _check_form(declared: Declared, text: str, verb: str) -> None:
    problem = ""
    if "\0" in text:
        problem = "has a null character"
    elif declared.option.form:
        problem = declared.option.form(text)
    if problem:
        raise ValueError(f"{verb} {text!r}, which {problem}")


def _no_choice(text: str, choices: Sequence[str]) -> str:
    if len(choices) == 1:
        return f"{text!r}, and only {choices[0]} is possible"
    if len(choices) == 2:
        return f"{text!r}, which is neither {choices[0]} nor {choices[1]}"
    return f"{text!r}, which is none of {', '.join(choices)}"


def toml_text(value: Value, kind: Kind | None = None) -> str:
    """A field's value as a person writes it in the file; ``kind`` is the option's."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if kind is Kind.MODE and isinstance(value, int):
        return f'"{value:04o}"'
    if kind is Kind.DURATION and isinstance(value, int | float):
        return f'"{duration_text(value)}"'
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    words = value if isinstance(value, tuple) else [f"{k}={v}" for k, v in value.items()]
    return "[" + ", ".join(map(_quoted, words)) + "]"


def duration_text(seconds: float) -> str:
    """``4h``, ``1m30s``, ``0.25s``."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{hours:.0f}h"] * bool(hours) + [f"{minutes:.0f}m"] * bool(minutes)
    if rest or not parts:
        parts.append(f"{rest:.9f}".rstrip("0").rstrip(".") + "s")
    return "".join(parts)


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
