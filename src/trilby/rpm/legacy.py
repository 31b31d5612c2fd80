"""The tables that Poetry and flit had before PEP 621, in its words."""

from __future__ import annotations

import re
from typing import Final

from trilby.system.positions import Data

__all__ = ["as_project"]

_NUMBERS: Final = re.compile(r"\d+(?:\.\d+)*")


def as_project(data: dict[str, Data]) -> tuple[dict[str, Data], tuple[str, ...]]:
    """A ``[project]`` table, and the keys of the table that it was made of; empty if there is none.

    Optional dependencies of Poetry and its groups are left out: packages do not require them.
    """
    tool = data.get("tool")
    tool = tool if isinstance(tool, dict) else {}
    if isinstance(poetry := tool.get("poetry"), dict) and "name" in poetry:
        return _poetry(poetry), ("tool", "poetry")
    flit = tool.get("flit")
    if isinstance(flit, dict) and isinstance(metadata := flit.get("metadata"), dict):
        found: dict[str, Data] = {
            "name": metadata.get("dist-name") or metadata.get("module"),
            "dependencies": metadata.get("requires"),
            "readme": metadata.get("description-file"),
            "urls": {"Homepage": metadata.get("home-page")},
            "requires-python": metadata.get("requires-python"),
            "classifiers": metadata.get("classifiers"),
            "license": metadata.get("license"),
            "scripts": flit.get("scripts"),
        }
        return found, ("tool", "flit", "metadata")
    return {}, ()


def _poetry(table: dict[str, Data]) -> dict[str, Data]:
    wanted = table.get("dependencies")
    dependencies = dict(wanted) if isinstance(wanted, dict) else {}
    python = dependencies.pop("python", "")
    same = ("name", "version", "description", "license", "classifiers", "readme", "scripts")
    homepage = table.get("homepage") or table.get("repository")
    texts = [_requirement(name, value) for name, value in dependencies.items()]
    return {
        **{key: table[key] for key in same if key in table},
        "urls": {"Homepage": homepage},
        "requires-python": _clauses(python) if isinstance(python, str) else "",
        "dependencies": [text for text in texts if text],
    }


def _requirement(name: str, value: Data) -> str:
    """One dependency as PEP 508 writes it; empty for an optional one."""
    table = value if isinstance(value, dict) else {"version": value}
    if table.get("optional"):
        return ""
    extras = table.get("extras")
    listed = ",".join(str(each) for each in extras) if isinstance(extras, list) else ""
    text = name + (f"[{listed}]" if listed else "")
    if isinstance(version := table.get("version"), str):
        text += f" {_clauses(version)}".rstrip()
    marker = table.get("markers")
    return f"{text}; {marker}" if isinstance(marker, str) else text


def _clauses(text: str) -> str:
    """``^1.2`` and ``~1.2`` as ranges: their first number that is not 0, or the second, is kept."""
    made = []
    for clause in (each.strip() for each in text.split(",")):
        sign, number = clause[:1], clause[1:].strip()
        if sign in ("^", "~") and _NUMBERS.fullmatch(number):
            parts = [int(part) for part in number.split(".")]
            first = next((n for n, part in enumerate(parts) if part), len(parts) - 1)
            fixed = first if sign == "^" else min(1, len(parts) - 1)
            above = [*parts[:fixed], parts[fixed] + 1]
            made.append(f">={number},<{'.'.join(str(part) for part in above)}")
        elif _NUMBERS.fullmatch(clause):
            made.append(f"=={clause}")
        elif clause != "*":
            made.append(clause)
    return ",".join(made)
