"""The metrics of pods: their names, which are cAdvisor's, their groups, kinds and labels.

``included_pod_metrics`` chooses groups; what belongs to no group is always told. Every name has
BASE as its first labels, then those given here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from trilby.cri.proto import stats_pb2 as pb

BASE: Final = ("id", "name", "image", "namespace", "pod", "container")

COUNTER: Final = pb.COUNTER
GAUGE: Final = pb.GAUGE

#: Of the metrics that are always told.
ALWAYS: Final = ""


class Family(msgspec.Struct, frozen=True):
    """All metrics of one name."""

    name: str
    group: str
    kind: pb.MetricType
    help: str
    labels: tuple[str, ...] = ()


_DEVICE: Final = ("device",)
_INTERFACE: Final = ("interface",)
_SIZE: Final = ("pagesize",)

FAMILIES: Final = (
    Family("container_last_seen", ALWAYS, GAUGE, "When the container was seen, seconds since 1970"),
    # Processor
    Family("container_cpu_user_seconds_total", "cpu", COUNTER, "Processor time in user mode"),
    Family("container_cpu_system_seconds_total", "cpu", COUNTER, "Processor time in the kernel"),
    Family("container_cpu_usage_seconds_total", "cpu", COUNTER, "Processor time", ("cpu",)),
    Family("container_cpu_cfs_periods_total", "cpu", COUNTER, "Periods of the quota"),
    Family(
        "container_cpu_cfs_throttled_periods_total",
        "cpu",
        COUNTER,
        "Periods of the quota in which it was used up",
    ),
    Family(
        "container_cpu_cfs_throttled_seconds_total",
        "cpu",
        COUNTER,
        "Time that the container was held back by its quota",
    ),
    # The file system of the writable layer
    Family("container_fs_inodes_free", "disk", GAUGE, "Free inodes of the file system", _DEVICE),
    Family("container_fs_inodes_total", "disk", GAUGE, "Inodes of the file system", _DEVICE),
    Family("container_fs_limit_bytes", "disk", GAUGE, "Size of the file system", _DEVICE),
    Family("container_fs_usage_bytes", "disk", GAUGE, "Size of the writable layer", _DEVICE),
    # Block devices
    Family("container_fs_reads_bytes_total", "diskIO", COUNTER, "Bytes read", _DEVICE),
    Family("container_fs_reads_total", "diskIO", COUNTER, "Reads completed", _DEVICE),
    Family("container_fs_writes_bytes_total", "diskIO", COUNTER, "Bytes written", _DEVICE),
    Family("container_fs_writes_total", "diskIO", COUNTER, "Writes completed", _DEVICE),
    Family(
        "container_blkio_device_usage_total",
        "diskIO",
        COUNTER,
        "Bytes transferred, by kind of operation",
        ("device", "major", "minor", "operation"),
    ),
    # Huge pages
    Family("container_hugetlb_usage_bytes", "hugetlb", GAUGE, "Bytes in huge pages", _SIZE),
    Family(
        "container_hugetlb_max_usage_bytes",
        "hugetlb",
        GAUGE,
        "The most bytes in huge pages so far",
        _SIZE,
    ),
    # Memory
    Family("container_memory_cache", "memory", GAUGE, "Bytes of file pages"),
    Family("container_memory_rss", "memory", GAUGE, "Bytes of anonymous memory"),
    Family("container_memory_kernel_usage", "memory", GAUGE, "Bytes of kernel memory"),
    Family("container_memory_mapped_file", "memory", GAUGE, "Bytes of mapped file pages"),
    Family("container_memory_swap", "memory", GAUGE, "Bytes of swap"),
    Family("container_memory_failcnt", "memory", COUNTER, "How often the limit was hit"),
    Family("container_memory_usage_bytes", "memory", GAUGE, "Bytes of memory"),
    Family("container_memory_max_usage_bytes", "memory", GAUGE, "The most bytes so far"),
    Family(
        "container_memory_working_set_bytes",
        "memory",
        GAUGE,
        "Bytes of memory without file pages that were not used lately",
    ),
    Family(
        "container_memory_failures_total",
        "memory",
        COUNTER,
        "Page faults, and those for which a device was read",
        ("failure_type", "scope"),
    ),
    # Network
    Family(
        "container_network_receive_bytes_total", "network", COUNTER, "Bytes received", _INTERFACE
    ),
    Family(
        "container_network_receive_packets_total",
        "network",
        COUNTER,
        "Packets received",
        _INTERFACE,
    ),
    Family(
        "container_network_receive_packets_dropped_total",
        "network",
        COUNTER,
        "Packets dropped on receipt",
        _INTERFACE,
    ),
    Family(
        "container_network_receive_errors_total",
        "network",
        COUNTER,
        "Packets received with errors",
        _INTERFACE,
    ),
    Family("container_network_transmit_bytes_total", "network", COUNTER, "Bytes sent", _INTERFACE),
    Family(
        "container_network_transmit_packets_total", "network", COUNTER, "Packets sent", _INTERFACE
    ),
    Family(
        "container_network_transmit_packets_dropped_total",
        "network",
        COUNTER,
        "Packets dropped instead of sent",
        _INTERFACE,
    ),
    Family(
        "container_network_transmit_errors_total",
        "network",
        COUNTER,
        "Packets that could not be sent",
        _INTERFACE,
    ),
    # Out of memory
    Family("container_oom_events_total", "oom", COUNTER, "Processes killed for lack of memory"),
    # Pressure
    Family(
        "container_pressure_cpu_stalled_seconds_total",
        "pressure",
        COUNTER,
        "Time in which all tasks waited for a processor",
    ),
    Family(
        "container_pressure_cpu_waiting_seconds_total",
        "pressure",
        COUNTER,
        "Time in which a task waited for a processor",
    ),
    Family(
        "container_pressure_memory_stalled_seconds_total",
        "pressure",
        COUNTER,
        "Time in which all tasks waited for memory",
    ),
    Family(
        "container_pressure_memory_waiting_seconds_total",
        "pressure",
        COUNTER,
        "Time in which a task waited for memory",
    ),
    Family(
        "container_pressure_io_stalled_seconds_total",
        "pressure",
        COUNTER,
        "Time in which all tasks waited for a device",
    ),
    Family(
        "container_pressure_io_waiting_seconds_total",
        "pressure",
        COUNTER,
        "Time in which a task waited for a device",
    ),
    # Processes
    Family("container_processes", "process", GAUGE, "Processes"),
    Family("container_threads", "process", GAUGE, "Threads"),
    Family("container_threads_max", "process", GAUGE, "Threads allowed; 0 for any number"),
    Family("container_file_descriptors", "process", GAUGE, "Open file descriptors"),
    Family("container_sockets", "process", GAUGE, "Open sockets"),
    Family(
        "container_ulimits_soft",
        "process",
        GAUGE,
        "Soft limits of the first process",
        ("ulimit",),
    ),
    # What was asked for
    Family("container_spec_cpu_period", "spec", GAUGE, "Microseconds of a period of the quota"),
    Family("container_spec_cpu_quota", "spec", GAUGE, "Microseconds of each period"),
    Family("container_spec_cpu_shares", "spec", GAUGE, "Share of the processors"),
    Family("container_spec_memory_limit_bytes", "spec", GAUGE, "Memory limit; 0 for none"),
    Family(
        "container_spec_memory_reservation_limit_bytes",
        "spec",
        GAUGE,
        "Memory that is kept for the container",
    ),
    Family(
        "container_spec_memory_swap_limit_bytes",
        "spec",
        GAUGE,
        "Limit of memory and swap together; 0 for none",
    ),
    Family(
        "container_start_time_seconds", "spec", GAUGE, "When it was started, seconds since 1970"
    ),
)

GROUPS: Final = tuple(dict.fromkeys(one.group for one in FAMILIES if one.group))
KINDS: Final = {one.name: one.kind for one in FAMILIES}


def chosen(included: Iterable[str]) -> frozenset[str]:
    """The groups that the configuration names; ``all`` is all of them."""
    named = frozenset(included)
    return frozenset(GROUPS) if "all" in named else named & frozenset(GROUPS)


def descriptors(groups: frozenset[str]) -> list[pb.MetricDescriptor]:
    """What ListMetricDescriptors answers."""
    return [
        pb.MetricDescriptor(name=one.name, help=f"{one.help}.", label_keys=[*BASE, *one.labels])
        for one in FAMILIES
        if one.group == ALWAYS or one.group in groups
    ]
