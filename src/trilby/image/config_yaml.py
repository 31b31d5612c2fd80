"""YAML configuration files with line numbers, read as strictly as JSON."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trilby.image.config_document import Keys, Section
from trilby.image.errors import ConfigError
from trilby.system.files import read_bytes_limited

if TYPE_CHECKING:
    import yaml

    from trilby.oci.codec import JsonValue

_FILE_LIMIT = 1 << 20
# Aliases let a short file say a huge one.
_NODE_LIMIT = 20_000


def load_yaml(path: str | os.PathLike[str]) -> Section:
    """Read a file with a mapping at its top (an empty file is one); raises ConfigError, OSError."""
    import yaml

    name = os.fspath(path)
    data = read_bytes_limited(name, _FILE_LIMIT)
    loader = yaml.SafeLoader(data)
    try:
        root = loader.get_single_node()
        reader = _Reader(name, loader)
        document = {} if root is None else reader.value(root, ())
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"{error.problem_mark.line + 1}:"
        raise ConfigError(f"{name}:{line} {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{name}:1: must be a mapping")
    return Section(name, document, reader.lines.get)


class _Reader:
    def __init__(self, path: str, loader: yaml.SafeLoader) -> None:
        self.path = path
        self.lines: dict[Keys, int] = {}
        self._loader = loader
        self._nodes = 0

    def value(self, node: yaml.Node, keys: Keys) -> JsonValue:
        import yaml

        line = node.start_mark.line + 1
        self.lines.setdefault(keys, line)
        self._nodes += 1
        if self._nodes > _NODE_LIMIT:
            raise ConfigError(f"{self.path}:{line}: more than {_NODE_LIMIT} values")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]
        found: object = self._loader.construct_object(node)
        if found is None or isinstance(found, bool | int | float | str):
            return found
        # Dates and binary data: text is what was meant.
        return str(node.value)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, JsonValue]:
        mapping: dict[str, JsonValue] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                raise ConfigError(f"{self.path}:{line}: a key must be text")
            if key in mapping:
                raise ConfigError(f"{self.path}:{line}: duplicate key {key!r}")
            self.lines[(*keys, key)] = line
            mapping[key] = self.value(value_node, (*keys, key))
        return mapping
