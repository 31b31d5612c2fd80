"""Which paths of /proc and /sys containers must not see or write."""

from __future__ import annotations

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
# What a kubelet's list may lack, because it is older than the leak.
ALWAYS_WITH_MASKS = ("/proc/asound", "/proc/interrupts", "/sys/devices/virtual/powercap")


def masked_paths(asked: tuple[str, ...] | None, *, privileged: bool) -> tuple[str, ...]:
    """None: the defaults. An empty list masks nothing, as ProcMount Unmasked wants."""
    if privileged:
        return ()
    if asked is None:
        return MASKED_PATHS
    return tuple(dict.fromkeys(asked + ALWAYS_WITH_MASKS)) if asked else ()


def readonly_paths(asked: tuple[str, ...] | None, *, privileged: bool) -> tuple[str, ...]:
    """None: the defaults."""
    if privileged:
        return ()
    return READONLY_PATHS if asked is None else asked
