"""YAML (or JSON, which is YAML) as plain values, with the line and column of every field.

A field's path is written as Kubernetes writes it: ``spec.containers[0].name``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

from trilby.pods.manifest.errors import InvalidManifest, Problem

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

Value: TypeAlias = "None | bool | int | float | str | list[Value] | dict[str, Value]"

# A manifest is written by a person; more than this is a mistake or an attack.
MAX_SIZE = 1 << 20
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its value and the (line, column) of each path, 1-based."""

    source: str
    value: Value
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: str, message: str) -> Problem:
        """A finding at ``path``, or at the nearest parent that is written in the file."""
        at = path
        while at and at not in self.positions:
            at = at[: max(at.rfind("."), at.rfind("["), 0)]
        line, column = self.positions.get(at, (0, 0))
        return Problem(line, column, path, message)


def load_documents(text: str, source: str) -> list[Document]:
    """Every non-empty document of a YAML stream.

    Raises:
        InvalidManifest: not YAML, a duplicate key, an alias (Kubernetes manifests do without, and
            they can be made to grow without bound), or too large.
    """
    import yaml

    if len(text) > MAX_SIZE:
        raise InvalidManifest(source, [Problem(0, 0, "", f"larger than {MAX_SIZE} bytes")])
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        at = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise InvalidManifest(source, [Problem(*at, "", f"not YAML: {message}")]) from None
    except yaml.YAMLError as error:
        raise InvalidManifest(source, [Problem(0, 0, "", f"not YAML: {error}")]) from None
    documents = []
    for node in nodes:
        builder = _Builder(source)
        value = builder.value(node, "", 0)
        if builder.problems:
            raise InvalidManifest(source, builder.problems)
        if value is not None:
            documents.append(Document(source, value, builder.positions))
    return documents


class _Builder:
    def __init__(self, source: str) -> None:
        import yaml

        self.scalars = yaml.SafeLoader("")
        self.positions: dict[str, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.seen: set[int] = set()

    def value(self, node: Node, path: str, depth: int) -> Value:
        from yaml.nodes import MappingNode, SequenceNode

        at = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.positions.setdefault(path, at)
        if not isinstance(node, MappingNode | SequenceNode):
            return self._scalar(node, path)
        if id(node) in self.seen:
            self.problems.append(Problem(*at, path, "YAML aliases are not allowed here"))
            return None
        self.seen.add(id(node))
        if depth > MAX_DEPTH:
            self.problems.append(Problem(*at, path, f"nested deeper than {MAX_DEPTH} levels"))
            return None
        if isinstance(node, SequenceNode):
            return [
                self.value(item, f"{path}[{index}]", depth + 1)
                for index, item in enumerate(node.value)
            ]
        return self._mapping(node, path, depth)

    def _mapping(self, node: MappingNode, path: str, depth: int) -> dict[str, Value]:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            at = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node.value, str):
                self.problems.append(Problem(*at, path, "a key must be a string"))
                continue
            key = self._text(key_node.value, at, path)
            below = f"{path}.{key}" if path else key
            if key in result:
                self.problems.append(Problem(*at, below, "is given twice"))
                continue
            self.positions[below] = at
            result[key] = self.value(value_node, below, depth + 1)
        return result

    def _scalar(self, node: Node, path: str) -> Value:
        # Timestamps and the like stay text: JSON, which the API speaks, has no such types.
        plain = ("null", "bool", "int", "float", "str")
        if node.tag.rpartition(":")[2] not in plain:
            return cast(str, node.value)
        at = (node.start_mark.line + 1, node.start_mark.column + 1)
        try:
            value = cast(Value, self.scalars.construct_object(node))
        except ValueError as error:
            self.problems.append(Problem(*at, path, str(error)))
            return None
        return self._text(value, at, path) if isinstance(value, str) else value

    def _text(self, text: str, at: tuple[int, int], path: str) -> str:
        """JSON writes characters beyond the first plane as two escapes; YAML reads two halves."""
        if text.isascii():
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.problems.append(Problem(*at, path, "half of a character (a lone surrogate)"))
            return ""
