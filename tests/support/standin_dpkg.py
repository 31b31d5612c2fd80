"""What dpkg knows of an installed tree: its packages, their files and what they need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

__all__ = ["Package", "packages", "rpm_version", "usr_merged"]

_MERGED = re.compile(r"^/(bin|sbin|lib|lib64)(?=/)")


class Package(msgspec.Struct, frozen=True):
    """An installed package. ``depends`` has the alternatives of each dependency, by name only."""

    name: str
    version: str
    files: tuple[str, ...]
    configs: frozenset[str]
    depends: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]


def packages(tree: Path) -> dict[str, Package]:
    """The installed packages by name. Paths are those of a tree whose / has no folders but links
    to /usr."""
    database = tree / "var/lib/dpkg"
    found = {}
    for paragraph in (database / "status").read_text().split("\n\n"):
        fields = dict(_fields(paragraph))
        if fields.get("Status", "").endswith(" installed"):
            package = _package(database, fields)
            found[package.name] = package
    return found


def rpm_version(version: str) -> str:
    """Debian's version without epoch and revision, in characters that RPM's may have."""
    upstream = version.split(":", 1)[-1].rsplit("-", 1)[0]
    upstream = re.sub(r"[+~](ds|dfsg|really).*$", "", upstream)
    return re.sub(r"[^A-Za-z0-9.~^+_]", ".", upstream)


def usr_merged(path: str) -> str:
    """/bin/sh is /usr/bin/sh."""
    return "/usr" + path if _MERGED.match(path) else path


def _fields(paragraph: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"(?m)^([A-Za-z-]+):(.*(?:\n[ \t].*)*)", paragraph):
        yield match.group(1), match.group(2).strip()


def _package(database: Path, fields: dict[str, str]) -> Package:
    name = fields["Package"]
    depends = [*_alternatives(fields.get("Pre-Depends")), *_alternatives(fields.get("Depends"))]
    configs = (line.split()[0] for line in fields.get("Conffiles", "").splitlines() if line.strip())
    return Package(
        name=name,
        version=fields["Version"],
        files=tuple(_listed(database, name, fields["Architecture"])),
        configs=frozenset(map(usr_merged, configs)),
        depends=tuple(depends),
        provides=tuple(choice[0] for choice in _alternatives(fields.get("Provides"))),
    )


def _listed(database: Path, name: str, architecture: str) -> Iterator[str]:
    lists = (database / "info" / f"{name}.list", database / "info" / f"{name}:{architecture}.list")
    for line in next(path for path in lists if path.exists()).read_text().splitlines():
        if line and line != "/.":
            yield usr_merged(line)


def _alternatives(field: str | None) -> Iterator[tuple[str, ...]]:
    for item in re.split(r"\s*,\s*", field or ""):
        if item:
            yield tuple(re.split(r"[\s(:]", choice.strip())[0] for choice in item.split("|"))
