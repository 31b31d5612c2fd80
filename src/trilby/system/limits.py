"""What this host and process may give to containers, and what to do when more is asked for.

In a nested or restricted environment (no CAP_SYS_RESOURCE, a smaller bounding set, no hugetlb
controller) an OCI runtime fails on settings that cannot be had. The clamps here turn such a setting
into the nearest possible one and a sentence for the log; None means nothing had to be changed.
"""

from __future__ import annotations

import functools
import os
import resource
from collections.abc import Iterable
from typing import Final

import msgspec

from trilby.system.cgroup_mounts import Hierarchies, detect
from trilby.system.errors import CgroupFailed

# In the order of their numbers; capabilities(7).
CAPABILITIES: Final = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP"
        " LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER"
        " SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE"
        " SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP"
        " MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF"
        " CHECKPOINT_RESTORE"
    ).split()
)
UNLIMITED: Final = (1 << 64) - 1
_HUGEPAGES: Final = "/sys/kernel/mm/hugepages"
_LOWEST_OOM_SCORE: Final = -1000


class Rlimit(msgspec.Struct, frozen=True):
    """A soft and a hard limit; UNLIMITED is the runtime specification's "infinity"."""

    soft: int
    hard: int


class HostLimits(msgspec.Struct, frozen=True):
    """What can be given.

    ``bounding`` and ``effective``: capabilities of this process. ``oom_score_adj`` is the lowest
    that a child may have. ``rlimits``: hard limits that cannot be raised, by name
    ("RLIMIT_NOFILE"); empty with CAP_SYS_RESOURCE. ``hugepage_sizes``: those whose use can be
    limited ("2MB"). ``swap_limits``: whether swap is counted. ``unified``: cgroup version 2 keys
    work. ``controllers``: the cgroup controllers there are.
    """

    bounding: frozenset[str]
    effective: frozenset[str]
    oom_score_adj: int
    rlimits: dict[str, int]
    hugepage_sizes: frozenset[str]
    swap_limits: bool
    unified: bool
    controllers: frozenset[str]

    def clamp_capabilities(self, names: Iterable[str]) -> tuple[list[str], str | None]:
        """Those of ``names`` that can be given, in order."""
        wanted = list(names)
        kept = [name for name in wanted if name in self.bounding]
        lost = sorted(set(wanted) - self.bounding)
        return kept, f"capabilities {', '.join(lost)} are not available here" if lost else None

    def clamp_oom_score(self, wanted: int) -> tuple[int, str | None]:
        """The nearest possible oom_score_adj."""
        if wanted >= self.oom_score_adj:
            return wanted, None
        return self.oom_score_adj, (
            f"oom_score_adj {wanted} is raised to {self.oom_score_adj}:"
            " CAP_SYS_RESOURCE is not available here"
        )

    def clamp_rlimit(self, name: str, wanted: Rlimit) -> tuple[Rlimit, str | None]:
        """The nearest possible limits."""
        most = self.rlimits.get(name, UNLIMITED)
        if wanted.hard <= most and wanted.soft <= most:
            return wanted, None
        given = Rlimit(min(wanted.soft, most), min(wanted.hard, most))
        return given, f"{name} is lowered to {most}: CAP_SYS_RESOURCE is not available here"

    def clamp_hugepages(self, sizes: Iterable[str]) -> tuple[list[str], str | None]:
        """Those page sizes whose use can be limited."""
        wanted = list(sizes)
        lost = [size for size in wanted if size not in self.hugepage_sizes]
        kept = [size for size in wanted if size in self.hugepage_sizes]
        if not lost:
            return kept, None
        return kept, f"huge pages of {', '.join(lost)} cannot be limited here"


@functools.cache
def host_limits() -> HostLimits:
    """The limits of this host and process, looked up once."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        status = file.read()
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        own_score = int(file.read())
    try:
        hierarchies = detect()
    except CgroupFailed:
        hierarchies = Hierarchies("v2", {}, "", frozenset())
    return limits_from(status, own_score, _hard_limits(), hierarchies, hugepage_sizes())


def limits_from(
    status: str,
    oom_score_adj: int,
    hard_limits: dict[str, int],
    hierarchies: Hierarchies,
    pages: frozenset[str],
) -> HostLimits:
    """host_limits() from given facts; ``status`` is the text of /proc/self/status."""
    masks = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith("Cap"))
    effective = capability_names(int(masks["CapEff"], 16))
    free = "CAP_SYS_RESOURCE" in effective
    controllers = hierarchies.controllers
    return HostLimits(
        bounding=capability_names(int(masks["CapBnd"], 16)),
        effective=effective,
        oom_score_adj=_LOWEST_OOM_SCORE if free else oom_score_adj,
        rlimits={} if free else hard_limits,
        hugepage_sizes=pages if "hugetlb" in controllers else frozenset(),
        swap_limits=_counts_swap(hierarchies),
        unified=hierarchies.unified,
        controllers=controllers,
    )


def capability_names(mask: int) -> frozenset[str]:
    """The names of a capability mask's bits; newer ones than CAPABILITIES are left out."""
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1)


def hugepage_sizes() -> frozenset[str]:
    """The kernel's huge page sizes as the runtime specification writes them: 64KB, 2MB, 1GB."""
    try:
        names = os.listdir(_HUGEPAGES)
    except FileNotFoundError:
        return frozenset()
    prefix, suffix = "hugepages-", "kB"
    return frozenset(
        page_size(int(name[len(prefix) : -len(suffix)]) * 1024)
        for name in names
        if name.startswith(prefix) and name.endswith(suffix)
    )


def page_size(size: int) -> str:
    """A page size in bytes as the runtime specification writes it."""
    for unit in ("B", "KB", "MB"):
        if size < 1024 or size % 1024:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}GB"


def _hard_limits() -> dict[str, int]:
    limits = {}
    for name in dir(resource):
        if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE":
            hard = resource.getrlimit(getattr(resource, name))[1]
            if hard != resource.RLIM_INFINITY:
                limits[name] = hard
    return limits


def _counts_swap(hierarchies: Hierarchies) -> bool:
    if hierarchies.unified:
        # The root cgroup has no limits; those right below it do.
        try:
            with os.scandir(hierarchies.v2 or "/nonexistent") as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return False
        return any(os.path.exists(f"{path}/memory.swap.max") for path in below)
    memory = hierarchies.v1.get("memory", "")
    return os.path.exists(f"{memory}/memory.memsw.limit_in_bytes")
