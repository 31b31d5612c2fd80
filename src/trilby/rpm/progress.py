"""How long steps tell that they go on: a callable that gets one Step after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

__all__ = ["Progress", "Step", "silent"]


class Step(msgspec.Struct, frozen=True):
    """Something began. ``seconds`` is since the whole task began; ``detail`` may be empty."""

    title: str
    detail: str = ""
    seconds: float = 0.0

    def text(self) -> str:
        return f"{self.title}: {self.detail}" if self.detail else self.title


Progress: TypeAlias = Callable[[Step], None]


def silent(step: Step) -> None:
    """Nobody watches."""
