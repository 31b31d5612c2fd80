"""READMEs of the Ansible roles: the table of variables is what meta/argument_specs.yml says.

``python -m tests.support.role_readme`` writes the tables anew; tests/unit/test_collection.py says
when that is due.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

__all__ = ["BEGIN", "END", "ROLES", "options", "table", "with_table"]

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))
BEGIN = "<!-- variables: begin -->\n"
END = "<!-- variables: end -->\n"


def options(role: Path) -> dict[str, Any]:
    """The variables of a role by name, as its specification has them."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())
    found: dict[str, Any] = specs["argument_specs"]["main"]["options"]
    return found


def table(role: Path) -> str:
    """One row for each variable; what is below a variable has rows of its own."""
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, option in options(role).items():
        rows += _rows(name, option)
    return "\n".join(rows) + "\n"


def _rows(name: str, option: dict[str, Any]) -> list[str]:
    text = option["description"]
    meaning = " ".join(text) if isinstance(text, list) else text
    meaning = meaning.replace("C(", "`").replace(")", "`") if "C(" in meaning else meaning
    if "choices" in option:
        meaning += f" One of {', '.join(f'`{each or chr(34) * 2}`' for each in option['choices'])}."
    kind = option["type"]
    if kind == "list":
        kind = f"list of {option['elements']}"
    default = "needed" if option.get("required") else f"`{_written(option.get('default'))}`"
    rows = [f"| `{name}` | {kind} | {default} | {meaning} |"]
    for inner, below in option.get("options", {}).items():
        rows += _rows(f"{name}[].{inner}" if kind.startswith("list") else f"{name}.{inner}", below)
    return rows


def _written(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def with_table(role: Path) -> str:
    """A README with its table as it has to be."""
    text = (role / "README.md").read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(role) + END + after


def main() -> int:
    for role in ROLES:
        (role / "README.md").write_text(with_table(role))
    return 0


if __name__ == "__main__":
    sys.exit(main())
