"""The tree that RPMs are made of: links to what there is, with files of ours laid over it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from tests.support.standin_cut import Entry, Part
from tests.support.standin_definition import FILES, Definition

__all__ = ["lay_over", "stage"]


def lay_over(parts: dict[str, Part], wanted: Definition) -> None:
    """Add the files and links that the definition has; what had their place goes."""
    for folder in sorted(FILES.iterdir()):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                place = "/" + str(path.relative_to(folder))
                mode = stat.S_IFREG | (0o755 if os.access(path, os.X_OK) else 0o644)
                _put(parts, folder.name, Entry(path=place, mode=mode, source=str(path)))
    for rpm, links in wanted.links.items():
        for place, target in links.items():
            _put(parts, rpm, Entry(path=place, mode=stat.S_IFLNK | 0o777, target=target))


def _put(parts: dict[str, Part], rpm: str, entry: Entry) -> None:
    for part in parts.values():
        part.entries.pop(entry.path, None)
    parts.setdefault(rpm, Part()).entries[entry.path] = entry


def stage(entries: Iterable[Entry], root: Path) -> None:
    """Make the files below ``root``, as hard links where that is possible."""
    made: set[str] = set()
    for entry in entries:
        place = str(root) + entry.path
        folder = place if entry.is_folder else os.path.dirname(place)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        if entry.is_folder:
            continue
        if os.path.lexists(place):
            raise FileExistsError(f"{entry.path} is in two packages")
        if entry.target:
            os.symlink(entry.target, place)
            continue
        try:
            os.link(entry.source, place)
        except OSError:  # on another file system
            shutil.copy2(entry.source, place)
