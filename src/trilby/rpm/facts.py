"""What project reads its facts with: values of one file, and errors that say where they stand."""

from __future__ import annotations

import ast
import configparser
import os
import re
from collections.abc import Iterable, Sequence
from typing import Final

from trilby.rpm.errors import InvalidProject
from trilby.rpm.requirement import Requirement, parse_requirement
from trilby.system.files import read_bytes_limited
from trilby.system.positions import Data, Positions

__all__ = ["CfgFacts", "Facts", "TomlFacts", "decoded", "one_line"]

_LIMIT: Final = 4 << 20
# What backends take for licences when nobody says which files have them.
_LICENSE_FILE: Final = re.compile(r"(LICEN[CS]E|COPYING)([._-].*)?", re.IGNORECASE)


class Facts:
    """Values of one file with the means to say where they stand."""

    def __init__(self, directory: str, path: str) -> None:
        self.directory = directory
        self.path = path

    def need(self, value: str, what: str, line: int, example: str) -> str:
        if not value:
            raise InvalidProject(
                f"{self.path}:{line}: the project has no {what}", hint=f"write {example}"
            )
        return value

    def need_version(self, value: str, line: int) -> str:
        if not value:
            raise InvalidProject(
                f"{self.path}:{line}: the version is not written down here",
                hint="give it with --version",
            )
        return value

    def text(self, value: Data, what: str, line: int) -> str:
        """A string; empty if there is none."""
        if value is not None and not isinstance(value, str):
            raise InvalidProject(f"{self.path}:{line}: {what} has to be a string")
        return value or ""

    def strings(self, value: Data, what: str, line: int) -> list[str]:
        """A list of strings; empty if there is none."""
        listed = value if isinstance(value, list) else []
        found = [each for each in listed if isinstance(each, str)]
        if (value is not None and not isinstance(value, list)) or len(found) < len(listed):
            raise InvalidProject(f"{self.path}:{line}: {what} has to be a list of strings")
        return found

    def requirements(self, texts: Iterable[tuple[int, str]]) -> tuple[Requirement, ...]:
        """Requirements, each with the line that it stands at."""
        found = []
        for line, text in texts:
            try:
                found.append(parse_requirement(text))
            except ValueError as error:
                raise InvalidProject(f"{self.path}:{line}: {error}") from None
        return tuple(found)

    def license_files(self, stated: Sequence[str]) -> tuple[str, ...]:
        """Files or globs: the stated ones, else what is called so in the project's directory."""
        called = sorted(
            name for name in os.listdir(self.directory) if _LICENSE_FILE.fullmatch(name)
        )
        return tuple(stated or called)

    def text_of(self, names: Sequence[str], line: int) -> str:
        texts = []
        for name in (each.strip() for each in names):
            path = os.path.join(self.directory, name)
            try:
                texts.append(read_bytes_limited(path, _LIMIT).decode(errors="replace"))
            except OSError as error:
                raise InvalidProject(f"{self.path}:{line}: {name}: {error.strerror}") from None
        return "\n".join(texts)

    def attribute(self, dotted: str, package_dir: str, line: int) -> str:
        """The string that a module assigns to a name, without running the module."""
        dotted = dotted.strip()
        module, _, name = dotted.rpartition(".")
        base = os.path.join(self.directory, package_dir, *module.split("."))
        for path in (f"{base}.py", f"{base}/__init__.py"):
            if os.path.exists(path) and (found := self.assigned(path, name)):
                return found
        raise InvalidProject(
            f"{self.path}:{line}: nothing assigns a plain string to {dotted}",
            hint="give the version with --version",
        )

    def assigned(self, path: str, name: str) -> str:
        """The string that a file of the project assigns to a name; empty if there is none."""
        path = os.path.join(self.directory, path)
        for node in _parsed(path).body if os.path.isfile(path) else ():
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            else:
                continue
            names = [each.id for each in targets if isinstance(each, ast.Name)]
            if name in names and isinstance(node.value, ast.Constant):
                return node.value.value if isinstance(node.value.value, str) else ""
        return ""

    def docstring(self, path: str) -> str:
        """The first line of a module's docstring; empty if there is none."""
        return one_line(ast.get_docstring(_parsed(os.path.join(self.directory, path))) or "")


class TomlFacts(Facts):
    """A table of a pyproject.toml; ``keys`` are the table's."""

    def __init__(self, directory: str, positions: Positions, keys: tuple[str, ...]) -> None:
        super().__init__(directory, positions.path)
        self._positions = positions
        self._keys = keys

    def line(self, *keys: str | int) -> int:
        """Where a key of the table stands, or the table."""
        return self._positions.line((*self._keys, *keys)) or 1

    def required(self, value: Data, *keys: str) -> tuple[Requirement, ...]:
        """The requirements that ``value``, what ``keys`` say, is a list of."""
        texts = self.strings(value, ".".join(keys), self.line(*keys))
        return self.requirements([(self.line(*keys, n), each) for n, each in enumerate(texts)])


class CfgFacts(Facts):
    """A setup.cfg. Raises InvalidProject with file and line if it is none, and OSError."""

    def __init__(self, directory: str, path: str) -> None:
        super().__init__(directory, path)
        text = decoded(path)
        self._lines = text.splitlines()
        self._parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
        try:
            self._parser.read_string(text, path)
        except configparser.Error as error:
            # It tells the line in several ways, and tells file and line again.
            broken: list[tuple[int, str]] = getattr(error, "errors", [])
            line = broken[0][0] if broken else getattr(error, "lineno", 1)
            reason = re.sub(r"^.*\[line +\d+\]:? ?", "", " ".join(error.message.split()))
            raise InvalidProject(f"{path}:{line}: {reason}") from None

    def keys(self, section: str) -> list[str]:
        return self._parser.options(section) if self._parser.has_section(section) else []

    def value(self, section: str, key: str) -> str:
        """What a key says; empty if it is not there."""
        return self._parser.get(section, key, fallback="").strip()

    def lines(self, section: str, key: str) -> list[str]:
        value = self.value(section, key)
        return [line.strip() for line in value.splitlines() if line.strip()]

    def words(self, section: str, key: str) -> list[str]:
        return self.value(section, key).replace(",", " ").split()

    def line(self, key: str, item: str = "") -> int:
        """Where a key stands, or one of the lines that its value has; 1 if it is not found."""
        found = 0
        for number, line in enumerate(self._lines, 1):
            if not found and re.match(rf"{re.escape(key)}\s*=", line):
                found = number
            if found and (not item or item in line):
                return number
        return found or 1

    def required(self, section: str, key: str) -> tuple[Requirement, ...]:
        texts = self.lines(section, key)
        return self.requirements([(self.line(key, text), text) for text in texts])


def decoded(path: str) -> str:
    """A file's text. Raises InvalidProject with the line of what is not UTF-8, and OSError."""
    data = read_bytes_limited(path, _LIMIT)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidProject(f"{path}:{line}: it is not UTF-8 text") from None


def one_line(text: str) -> str:
    """A description as a spec's Summary has it: its first line, without a full stop."""
    return (text.strip().splitlines() or [""])[0].strip().rstrip(".")


def _parsed(path: str) -> ast.Module:
    try:
        return ast.parse(read_bytes_limited(path, _LIMIT))
    except SyntaxError as error:
        raise InvalidProject(f"{path}:{error.lineno or 1}: {error.msg}") from None
