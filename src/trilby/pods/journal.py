"""What a sandbox or container made outside the process, written down before it was made.

A journal is a file of JSON lines, only ever appended to. Each line is a step that can be undone
any number of times, whether or not it was done: a failed call, a removal and a recovery after
``kill -9`` all undo the same journal, in the order of the steps' ranks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Step(msgspec.Struct, frozen=True, tag_field="made"):
    """One thing outside the process. Steps of one ``rank`` can be undone at the same time."""

    rank: ClassVar[int] = 0


class Processes(Step, frozen=True, tag="processes"):
    """conmon, the runtime's container and everything that runs in its cgroup."""

    rank: ClassVar[int] = 0
    container_id: str
    handler: str
    cgroup: str


class Attachment(Step, frozen=True, tag="attachment"):
    """The sandbox' place in CNI networks: addresses, links, host ports."""

    rank: ClassVar[int] = 1
    sandbox_id: str


class Rootfs(Step, frozen=True, tag="rootfs"):
    """A container's root file system in the store, mounted."""

    rank: ClassVar[int] = 1
    container_id: str


class Mountpoint(Step, frozen=True, tag="mount"):
    """A mount of the engine's own."""

    rank: ClassVar[int] = 1
    path: str


class Pin(Step, frozen=True, tag="pin"):
    """A namespace kept alive by a bind mount; a network has to leave it first."""

    rank: ClassVar[int] = 2
    path: str


class Cgroup(Step, frozen=True, tag="cgroup"):
    """A cgroup of the engine's own, in all hierarchies."""

    rank: ClassVar[int] = 2
    path: str


class Tree(Step, frozen=True, tag="tree"):
    """A directory with everything in it."""

    rank: ClassVar[int] = 3
    path: str


class Name(Step, frozen=True, tag="name"):
    """A reserved name: a symbolic link to ``id``. It may be another's by the time of undoing."""

    rank: ClassVar[int] = 4
    link: str
    id: str


class Home(Step, frozen=True, tag="home"):
    """The directory that this journal is in: last, so that nothing is undone but forgotten."""

    rank: ClassVar[int] = 5
    path: str


AnyStep = Processes | Attachment | Rootfs | Mountpoint | Pin | Cgroup | Tree | Name | Home

_decoder = msgspec.json.Decoder(AnyStep)


class Journal:
    """The journal in one directory."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/journal"

    def write(self, steps: Sequence[AnyStep]) -> None:
        """Append steps, in one write; call it before doing any of them."""
        lines = b"".join(msgspec.json.encode(step) + b"\n" for step in steps)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, lines)
        finally:
            os.close(fd)

    def read(self) -> list[AnyStep]:
        """All steps, oldest first. A last line that is torn was not done, and is left out."""
        try:
            with open(self.path, "rb") as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return []
        steps = []
        for line in lines:
            try:
                steps.append(_decoder.decode(line))
            except msgspec.DecodeError:
                continue
        return steps


def by_rank(steps: Sequence[AnyStep]) -> list[list[AnyStep]]:
    """Groups of steps in the order of undoing; within a group the newest first."""
    ranks = sorted({step.rank for step in steps})
    return [[step for step in reversed(steps) if step.rank == rank] for rank in ranks]
