"""Places of tables, keys and array items in TOML text; TOML 1.0, sections Keys, Table, Array."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator

Key = str | int
Path = tuple[Key, ...]
# Line and column, both from 1; columns count characters.
Place = tuple[int, int]

_SPACE = re.compile(r"[ \t]*")
_FILL = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_STRINGS = (
    # Up to two quotes may stand right before the closing three.
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^\s,\]}#]+(?: [0-9][^\s,\]}#]*)?")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: dict[Path, Place] = {}
        # How many [[name]] of each array of tables came so far.
        self.counts: dict[Path, int] = {}
        self._counted_to = 0
        self._line = 1

    def place(self) -> Place:
        self._line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        return self._line, self.at - self.text.rfind("\n", 0, self.at)

    def note(self, path: Path, place: Place | None = None) -> None:
        self.places.setdefault(path, place or self.place())

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if not match:
            return ""
        self.at = match.end()
        return match[0]

    def peek(self, what: str) -> bool:
        return self.text.startswith(what, self.at)

    def document(self) -> None:
        table: Path = ()
        while True:
            self.skip(_FILL)
            before = self.at
            if before >= len(self.text):
                return
            if self.peek("[["):
                table = self.header(2)
            elif self.peek("["):
                table = self.header(1)
            else:
                self.pair(table)
            if self.at == before:
                # Not TOML: the parser has said so already.
                return

    def header(self, brackets: int) -> Path:
        start = self.place()
        self.at += brackets
        keys = self.dotted_key()
        path: Path = ()
        for index, key in enumerate(keys):
            path = (*path, key)
            last = index == len(keys) - 1
            if last and brackets == 2:
                self.counts[path] = self.counts.get(path, -1) + 1
            self.note(path, start)
            if path in self.counts:
                path = (*path, self.counts[path])
                self.note(path, start)
        self.at += brackets
        return path

    def dotted_key(self) -> list[str]:
        keys = []
        while True:
            self.skip(_SPACE)
            keys.append(self.key())
            self.skip(_SPACE)
            if not self.peek("."):
                return keys
            self.at += 1

    def key(self) -> str:
        if self.peek('"') or self.peek("'"):
            quoted = self.skip(_STRINGS[2] if self.peek('"') else _STRINGS[3])
            return str(tomllib.loads(f"k = {quoted}")["k"])
        return self.skip(_BARE_KEY)

    def pair(self, table: Path) -> None:
        path = table
        start = self.place()
        for key in self.dotted_key():
            path = (*path, key)
            self.note(path, start)
        if self.peek("="):
            self.at += 1
            self.skip(_SPACE)
            self.value(path)

    def value(self, path: Path) -> None:
        if self.peek("["):
            for index in self.items("]"):
                self.note((*path, index))
                self.value((*path, index))
        elif self.peek("{"):
            for _ in self.items("}"):
                self.pair(path)
        elif not any(self.skip(pattern) for pattern in _STRINGS):
            self.skip(_BARE_VALUE)

    def items(self, closing: str) -> Iterator[int]:
        """Stand at each item between the bracket here and its ``closing``, which is passed."""
        self.at += 1
        for index in itertools.count():
            self.skip(_FILL)
            before = self.at
            if self.peek(closing) or self.at >= len(self.text):
                break
            yield index
            if self.at == before:
                return
        self.at += 1


def toml_places(text: str) -> dict[Path, Place]:
    """{("table", "key", 0, …): (line, column)} for all tables, keys and array items of TOML text.

    The text must be valid.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.places
