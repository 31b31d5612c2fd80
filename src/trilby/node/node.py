"""One host with its configuration, as checks see it; what several checks need is read once."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from trilby.errors import TrilbyError
from trilby.node.kubelet_config import KubeletConfig, load_kubelet_config, problem
from trilby.pods.network.conflist import Discovered, discover
from trilby.system.cgroup_mounts import Hierarchies, detect_from
from trilby.system.errors import CgroupFailed
from trilby.system.mount_table import MountEntry, parse_mount

if TYPE_CHECKING:
    from trilby.node.host import Host
    from trilby.node.settings import Settings
    from trilby.pods.config import EngineConfig, RuntimeHandler

__all__ = ["Node"]


class Node:
    """``kubelet_config`` is a file of this machine, "" for the host's own."""

    def __init__(self, host: Host, settings: Settings, kubelet_config: str = "") -> None:
        self.host = host
        self.settings = settings
        self.kubelet_problem = ""
        self._kubelet_config = kubelet_config

    @property
    def engine(self) -> EngineConfig:
        return self.settings.engine

    @functools.cached_property
    def kernel(self) -> tuple[int, int]:
        """(major, minor); (0, 0) where it is not known."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @functools.cached_property
    def release(self) -> str:
        """The running kernel's, as ``uname -r`` says; "" where it is not known."""
        return self.host.word("/proc/sys/kernel/osrelease")

    @functools.cached_property
    def kubelet(self) -> KubeletConfig | None:
        """None where there is none, or none that can be read: ``kubelet_problem`` says why."""
        try:
            return load_kubelet_config(self.host, self._kubelet_config)
        except TrilbyError as error:
            self.kubelet_problem = problem(error)
            return None

    @functools.cached_property
    def mounts(self) -> list[MountEntry]:
        """The mount table, oldest first."""
        text = self.host.read(f"{self.host.proc}/mountinfo") or ""
        return [parse_mount(line) for line in text.rstrip("\n").split("\n") if line]

    def mount_of(self, path: str) -> MountEntry | None:
        """What a path is on, or will be; the uppermost mount counts."""
        found: MountEntry | None = None
        for mount in self.mounts:
            above = mount.target.rstrip("/")
            inside = path == above or path.startswith(above + "/")
            if inside and (found is None or len(above) >= len(found.target.rstrip("/"))):
                found = mount
        return found

    @functools.cached_property
    def hierarchies(self) -> Hierarchies | None:
        """The cgroup file systems; None without any."""
        try:
            found = detect_from(self.host.read(f"{self.host.proc}/cgroup") or "", self.mounts)
        except CgroupFailed:
            return None
        if not found.v2:
            return found
        offered = (self.host.word(f"{found.v2}/cgroup.controllers")).split()
        return Hierarchies(found.mode, found.v1, found.v2, frozenset(offered))

    @functools.cached_property
    def networks(self) -> Discovered:
        """The CNI networks that are configured."""
        return discover(map(self.host.path, self.engine.cni_config_dirs))

    @functools.cached_property
    def handler(self) -> RuntimeHandler | None:
        """The one of pods that name none; None where none of the usual ones is installed."""
        runtimes = self.engine.runtimes
        if self.engine.default_runtime:
            return runtimes.get(self.engine.default_runtime)
        usual = (runtimes[name] for name in ("crun", "runc") if name in runtimes)
        return next((each for each in usual if self.host.which(each.path or each.name)), None)

    def has_ipv6(self) -> bool:
        """Whether the kernel speaks IPv6 and it is not switched off."""
        return self.host.word("/proc/sys/net/ipv6/conf/all/disable_ipv6") == "0"
