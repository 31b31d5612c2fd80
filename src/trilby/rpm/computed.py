"""What a project's build computes: version and summary, looked up where backends look for them.

Nothing of the project is run. A source distribution has the answers in its PKG-INFO.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from trilby.rpm.facts import Facts, decoded
from trilby.system.positions import Data

__all__ = ["Computed", "at", "strings_of"]


def at(value: Data, *keys: str) -> Data:
    """What stands below these keys, None if one is not there."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def strings_of(value: Data) -> list[str]:
    """The strings of a list; none of anything else."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


class Computed:
    """The facts that ``data``, a pyproject.toml, leaves to the backend.

    ``modules`` are the names that the project has in ``place``, a folder of its directory.
    """

    def __init__(
        self, facts: Facts, data: dict[str, Data], place: str, modules: Sequence[str]
    ) -> None:
        self._facts = facts
        self._data = data
        self._place = place
        self._files = [
            path
            for name in modules
            for path in (f"{name}/__init__.py", f"{name}.py")
            if os.path.isfile(os.path.join(facts.directory, place, path))
        ]

    def version(self, line: int) -> str:
        """As setuptools, hatch and flit have it, or PKG-INFO. Raises InvalidProject."""
        said = at(self._data, "tool", "setuptools", "dynamic", "version")
        if isinstance(attribute := at(said, "attr"), str):
            return self._facts.attribute(attribute, self._place, line)
        if isinstance(file := at(said, "file"), str):
            return self._facts.text_of([file], line).strip()
        hatch = at(self._data, "tool", "hatch", "version", "path")
        files = [hatch] if isinstance(hatch, str) else []
        files += [os.path.join(self._place, name) for name in self._files]
        for name in files:
            for variable in ("__version__", "VERSION"):
                if found := self._facts.assigned(name, variable):
                    return found
        return self._facts.need_version(self.pkg_info("Version"), line)

    def summary(self) -> str:
        """flit's: the first line of the module's docstring; or PKG-INFO's. Empty without."""
        for name in self._files:
            if found := self._facts.docstring(os.path.join(self._place, name)):
                return found
        return self.pkg_info("Summary")

    def pkg_info(self, field: str) -> str:
        """A field of a source distribution's metadata; empty without them."""
        import email.parser

        path = os.path.join(self._facts.directory, "PKG-INFO")
        if not os.path.isfile(path):
            return ""
        found = email.parser.HeaderParser().parsestr(decoded(path)).get(field, "")
        return "" if found == "UNKNOWN" else str(found)
