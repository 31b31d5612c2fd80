"""The floors of the house: an import goes down, never up (docs/ARCHITECTURE.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src" / "trilby"

FLOORS = {
    "errors": 0,
    "oci": 1,
    "system": 1,
    "storage": 2,
    "image": 3,
    "pods": 4,
    "cri": 5,
    "node": 5,
    "rpm": 5,
    "cli": 6,
}
KERNEL_DOORS = {"ctypes", "subprocess", "_posixsubprocess"}
MODULES = sorted(path for path in SRC.rglob("*.py") if path != SRC / "__init__.py")


def imported_modules(tree: ast.AST) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import at line {node.lineno}"
            base = node.module or ""
            found.append((node.lineno, base))
            if base == "trilby":
                found += [(node.lineno, f"trilby.{alias.name}") for alias in node.names]
    return found


def room_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    assert room in FLOORS, f"{path}: a room that the house does not know"
    for line, module in imported_modules(ast.parse(path.read_text())):
        root = module.split(".")[0]
        if root in KERNEL_DOORS:
            assert room == "system", f"{path}:{line}: only system may import {root}"
        if not module.startswith("trilby."):
            continue
        target = module.split(".")[1]
        assert target == room or FLOORS[target] < FLOORS[room], (
            f"{path}:{line}: {room} may not import {module}"
        )


@pytest.mark.parametrize(
    "path", sorted(SRC.rglob("__init__.py")), ids=lambda path: str(path.relative_to(SRC))
)
def test_package_inits_hold_only_a_docstring(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert len(body) == 1 and isinstance(body[0], ast.Expr), f"{path} holds code"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
