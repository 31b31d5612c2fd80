"""Which distributions a folder of modules imports: what its own package has to require."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from typing import Final

from trilby.rpm.errors import InvalidProject
from trilby.rpm.project import Project
from trilby.rpm.requirement import Requirement, normalized

__all__ = ["imported_modules", "requirements_of"]

# Where the module's name is not that of the distribution.
_MODULES: Final = {
    "grpcio": "grpc",
    "protobuf": "google.protobuf",
    "prometheus-client": "prometheus_client",
    "pyyaml": "yaml",
}


def requirements_of(project: Project, *places: str) -> list[Requirement]:
    """Those of the project's requirements that modules in ``places`` import, in their order.

    ``places`` are files and folders below the project's package directory; of a folder all that is
    below it. Imports for type checkers only do not count; those inside functions do. Raises
    InvalidProject for a file that is no module.
    """
    base = os.path.join(project.directory, project.package_dir)
    found: set[str] = set()
    for path in _files(os.path.join(base, place) for place in places):
        with open(path, "rb") as file:
            try:
                found |= imported_modules(file.read())
            except SyntaxError as error:
                raise InvalidProject(f"{path}:{error.lineno or 1}: {error.msg}") from None
    return [each for each in project.requires if _module(each) in _prefixes(found)]


def imported_modules(source: bytes) -> set[str]:
    """The absolute names that a module's text imports at run time."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def _prefixes(names: Iterable[str]) -> set[str]:
    found = set()
    for name in names:
        parts = name.split(".")
        found |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return found


def _module(requirement: Requirement) -> str:
    name = normalized(requirement.name)
    return _MODULES.get(name, name.replace("-", "_"))


def _files(places: Iterable[str]) -> Iterator[str]:
    for place in places:
        if os.path.isfile(place):
            yield place
        for folder, _, names in os.walk(place):
            yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))
