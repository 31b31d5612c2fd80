"""Where this host's cgroup hierarchies are, version 1, version 2, or both; cgroups(7)."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import Literal

import msgspec

from trilby.system.errors import CgroupFailed
from trilby.system.mount_table import MountEntry, list_mounts

Mode = Literal["v1", "hybrid", "v2"]


class Hierarchies(msgspec.Struct, frozen=True):
    """The cgroup file systems of a host.

    ``mode`` "hybrid" is version 1 with a version 2 mount beside it; containers use version 1 then.
    ``v1`` maps a controller ("memory", "name=systemd") to its mount's directory; ``v2`` is the
    directory of the version 2 mount, "" when there is none. ``v2_controllers`` are those that
    version 2 offers at its top.
    """

    mode: Mode
    v1: dict[str, str]
    v2: str
    v2_controllers: frozenset[str]

    @property
    def unified(self) -> bool:
        """Whether version 2 is in charge."""
        return self.mode == "v2"

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers that containers can be limited by."""
        if self.unified:
            return self.v2_controllers
        return frozenset(name for name in self.v1 if not name.startswith("name="))

    def directories(self, path: str) -> list[str]:
        """The directories that the absolute cgroup ``path`` has, one per hierarchy in use."""
        tops = [self.v2] if self.unified else list(dict.fromkeys(self.v1.values()))
        return [top + path.rstrip("/") for top in tops]

    def directory(self, controller: str, path: str) -> str:
        """The directory of ``path`` where ``controller``'s files are; CgroupFailed when nowhere."""
        top = self.v2 if self.unified else self.v1.get(controller)
        if not top or (self.unified and controller not in self.v2_controllers | {""}):
            raise CgroupFailed(f"cgroup {path}: this host has no {controller} controller")
        return top + path.rstrip("/")


@functools.cache
def detect() -> Hierarchies:
    """The hierarchies of this host, looked up once per process; CgroupFailed without any."""
    return detect_from(_membership_text("self"), list_mounts())


def detect_from(membership: str, mounts: Iterable[MountEntry]) -> Hierarchies:
    """detect() from given texts: /proc/self/cgroup and the mount table.

    /proc/self/cgroup says which controllers exist: a directory may be an empty leftover.
    """
    known = parse_membership(membership)
    v1: dict[str, str] = {}
    v2 = ""
    for mount in mounts:
        if mount.fs_type == "cgroup2" and "" in known and not v2:
            v2 = mount.target
        elif mount.fs_type == "cgroup":
            for option in mount.super_options.split(","):
                if option in known and option not in v1:
                    v1[option] = mount.target
    if not v1 and not v2:
        raise CgroupFailed("no cgroup file system is mounted", hint="mount one at /sys/fs/cgroup")
    # A name=systemd hierarchy alone controls nothing.
    has_v1 = any(not name.startswith("name=") for name in v1)
    mode: Mode = "v2" if v2 and not has_v1 else "hybrid" if v2 else "v1"
    return Hierarchies(mode, {} if mode == "v2" else v1, v2, _offered(v2))


def parse_membership(text: str) -> dict[str, str]:
    """{controller: path} of /proc/<pid>/cgroup; version 2 is the controller ""."""
    found = {}
    for line in filter(None, text.split("\n")):
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path
    return found


def membership(pid: int) -> dict[str, str]:
    """The cgroups of a process: {controller: absolute path}; OSError when it is gone."""
    return parse_membership(_membership_text(str(pid)))


def _membership_text(process: str) -> str:
    with open(f"/proc/{process}/cgroup", "rb") as file:
        return os.fsdecode(file.read())


def _offered(v2: str) -> frozenset[str]:
    if not v2:
        return frozenset()
    try:
        with open(os.path.join(v2, "cgroup.controllers"), encoding="ascii") as file:
            return frozenset(file.read().split())
    except OSError:
        return frozenset()
