"""Python requirements (PEP 508) as RPM writes them: ``python3dist(name) >= 1.2``."""

from __future__ import annotations

import re
from typing import Final

import msgspec

__all__ = ["Requirement", "normalized", "parse_requirement", "rpm_version"]

_REQUIREMENT: Final = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*"
    r"(?:\[(?P<extras>[^\]]*)\])?\s*"
    r"\(?(?P<clauses>[^;()@]*)\)?\s*"
    r"(?:;\s*(?P<marker>.*))?$"
)
_CLAUSE: Final = re.compile(r"(?P<operator>===|==|!=|~=|<=|>=|<|>)\s*(?P<version>[\w.*+!-]+)$")
_VERSION: Final = re.compile(
    r"(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[._-]?(?P<pre>a|b|rc|alpha|beta|c|preview)[._-]?(?P<number>\d*))?"
    r"(?:(?:[._-]?post|-)(?P<post>\d*))?(?:[._-]?dev(?P<dev>\d*))?(?:\+.*)?$",
    re.IGNORECASE,
)


class Requirement(msgspec.Struct, frozen=True):
    """One requirement. ``clauses`` are pairs of operator and version; ``marker`` is verbatim."""

    name: str
    extras: tuple[str, ...] = ()
    clauses: tuple[tuple[str, str], ...] = ()
    marker: str = ""

    def rpm(self) -> list[str]:
        """As RPM's dependencies: one for the distribution, and one for each of its extras."""
        base = normalized(self.name)
        names = [base, *(f"{base}[{normalized(extra)}]" for extra in self.extras)]
        return [_dependency(f"python3dist({name})", self.clauses) for name in names]


def normalized(name: str) -> str:
    """A distribution's or extra's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_requirement(text: str) -> Requirement:
    """``aiohttp[speedups] >= 3.9, < 4; python_version > '3'``. Raises ValueError."""
    match = _REQUIREMENT.match(text.strip())
    if match is None and re.match(r"[\w.-]+(?:\[[^\]]*\])?\s*@", text.strip()):
        raise ValueError(f"{text!r} names a place to fetch from; packages require versions only")
    if match is None:
        raise ValueError(f"{text!r} is not a requirement as PEP 508 has them")
    clauses = []
    for part in filter(None, (each.strip() for each in match["clauses"].split(","))):
        clause = _CLAUSE.match(part)
        if clause is None:
            raise ValueError(f"{text!r}: {part!r} is not a version clause")
        if clause["operator"] == "~=" and not re.match(r"\d+\.\d", clause["version"]):
            raise ValueError(f"{text!r}: ~= needs a version of two numbers, as ~= 2.0")
        clauses.append((clause["operator"], clause["version"]))
    extras = tuple(each.strip() for each in (match["extras"] or "").split(",") if each.strip())
    return Requirement(match["name"], extras, tuple(clauses), (match["marker"] or "").strip())


def rpm_version(text: str) -> str:
    """A version (PEP 440) so that RPM sorts it right: 1.0rc1 is ``1.0~rc1``, before 1.0."""
    match = _VERSION.match(text)
    if match is None:
        return text
    made = f"{match['epoch']}:" if match["epoch"] else ""
    made += match["release"]
    if match["pre"]:
        short = {"alpha": "a", "beta": "b", "c": "rc", "preview": "rc"}
        made += f"~{short.get(match['pre'].lower(), match['pre'].lower())}{match['number'] or 0}"
    if match["dev"] is not None:
        made += f"~dev{match['dev'] or 0}"
    if match["post"] is not None:
        made += f"^post{match['post'] or 0}"
    return made


def _dependency(capability: str, clauses: tuple[tuple[str, str], ...]) -> str:
    terms: list[str] = []
    for operator, version in clauses:
        if operator == "==" and version.endswith(".*"):
            low = version[:-2]
            terms += [f"{capability} >= {low}", f"{capability} < {_next(low)}~~"]
        elif operator == "~=":
            low = version.rpartition(".")[0]
            terms += [f"{capability} >= {rpm_version(version)}", f"{capability} < {_next(low)}~~"]
        elif operator == "!=":
            same = rpm_version(version)
            terms.append(f"({capability} < {same} or {capability} > {same})")
        else:
            sign = "=" if operator in ("==", "===") else operator
            terms.append(f"{capability} {sign} {rpm_version(version)}")
    if not terms:
        return capability
    return terms[0] if len(terms) == 1 else "(" + " with ".join(terms) + ")"


def _next(prefix: str) -> str:
    """The first version that no longer begins with the prefix."""
    *head, last = prefix.split(".")
    return ".".join([*head, str(int(last) + 1)])
