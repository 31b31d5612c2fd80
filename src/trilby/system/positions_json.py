"""Lines of keys and items in JSON text."""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|\n|[^\s{}\[\],:"]+', re.DOTALL)

Key = str | int


def json_lines(text: str) -> dict[tuple[Key, ...], int]:
    """{("key", 0, …): line} for every key and every list item of valid JSON text."""
    lines: dict[tuple[Key, ...], int] = {}
    path: list[Key] = []
    # One entry per open bracket: whether it is an object whose key comes next.
    expecting_key: list[bool] = []
    line = 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
            continue
        if token not in ("]", "}", ",", ":") and expecting_key:
            if expecting_key[-1]:
                path[-1] = str(json.loads(token))
                lines[tuple(path)] = line
            elif isinstance(path[-1], int):
                lines.setdefault(tuple(path), line)
        if token in ("{", "["):
            expecting_key.append(token == "{")
            path.append("" if token == "{" else 0)
        elif token in ("}", "]"):
            expecting_key.pop()
            path.pop()
        elif token == ":":
            expecting_key[-1] = False
        elif token == ",":
            last = path[-1]
            if isinstance(last, int):
                path[-1] = last + 1
            else:
                expecting_key[-1] = True
    return lines
