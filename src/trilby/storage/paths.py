"""Paths as the callers of the store get them; pathlib is loaded by those calls only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def as_path(text: str) -> Path:
    """The path object. Listing images needs none, and pathlib takes 5 ms to import."""
    from pathlib import Path

    return Path(text)
