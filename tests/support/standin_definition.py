"""What spec/standin says: YAML as values."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

__all__ = ["DATA", "FILES", "Definition", "Made", "Name", "Wheel", "definition", "wheels"]

FOLDER = Path(__file__).resolve().parents[2] / "spec" / "standin"
#: Everything that is said of the stand-in besides files.
DATA = (FOLDER / "debian.yaml", FOLDER / "wheels.yaml")
#: Files of the packages, one folder for each, laid over what Debian has.
FILES = FOLDER / "files"


class Name(msgspec.Struct, forbid_unknown_fields=True):
    """Where a package of Fedora's name comes from; ``from`` are packages of Debian."""

    sources: list[str] = msgspec.field(name="from")
    provides: list[str] = []


class Made(msgspec.Struct, forbid_unknown_fields=True):
    """A package that is not cut out of Debian's, but has files of ours or none."""

    version: str
    summary: str
    requires: list[str] = []
    provides: list[str] = []


class Definition(msgspec.Struct, forbid_unknown_fields=True):
    """debian.yaml; its comments say what the keys mean."""

    suite: str
    older: str
    held: list[str]
    python: str
    install: dict[str, list[str]]
    never: list[str]
    drop: list[str]
    leave: list[str]
    belongs: dict[str, str]
    moved: dict[str, str]
    links: dict[str, dict[str, str]]
    names: dict[str, Name]
    made: dict[str, Made]
    host: list[str]


class Wheel(msgspec.Struct, forbid_unknown_fields=True):
    """A wheel of a project."""

    version: str


def definition() -> Definition:
    return msgspec.convert(_load("debian.yaml"), Definition)


def wheels() -> dict[str, Wheel]:
    """Projects of PyPI by their names."""
    return msgspec.convert(_load("wheels.yaml"), dict[str, Wheel])


def _load(name: str) -> object:
    return yaml.safe_load((FOLDER / name).read_text())
