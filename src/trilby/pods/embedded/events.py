"""What a runner tells whoever shows it to a person."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Notice(msgspec.Struct, frozen=True):
    """Something worth a line; ``container`` is empty for the pod itself."""

    container: str
    text: str


class Started(msgspec.Struct, frozen=True):
    """A try of a container runs."""

    container: str
    container_id: str
    attempt: int


class Exited(msgspec.Struct, frozen=True):
    """A try of a container has ended; ``message`` is its termination message."""

    container: str
    container_id: str
    exit_code: int
    reason: str
    message: str


class SandboxReady(msgspec.Struct, frozen=True):
    """The pod has its sandbox and its addresses."""

    sandbox_id: str
    ips: tuple[str, ...]


Event = Notice | Started | Exited | SandboxReady
Emit = Callable[[Event], None]
