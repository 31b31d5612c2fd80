"""The values of pods' metrics, from what was read of them; names and labels are in the table.

Values are whole numbers in the CRI, so times are whole seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Final

from trilby.cri.pod_metrics_table import KINDS
from trilby.cri.proto import stats_pb2 as pb
from trilby.pods import stats_details as details
from trilby.pods.model_common import Resources
from trilby.pods.stats_details import ContainerDetails, PodDetails, device_name
from trilby.system.cgroup_stats import Psi

_SECOND: Final = 10**9
#: What the pod itself is called where a container's name belongs.
_POD: Final = "POD"
#: Limits above this are none: the kernel rounds its largest number.
_NO_LIMIT: Final = 1 << 62
#: What has to be read for which group.
_NEEDS: Final = {
    "network": details.NETWORK,
    "process": details.PROCESSES,
    "disk": details.DISK,
}


def needs(groups: Set[str]) -> frozenset[str]:
    """What ``stats_details.read_pods`` has to read for these groups."""
    return frozenset(need for group, need in _NEEDS.items() if group in groups)


class _Metrics:
    """Adds metrics that share their first labels to a message's ``metrics``."""

    def __init__(
        self, message: pb.ContainerMetrics | pb.PodSandboxMetrics, base: Sequence[str], time: int
    ) -> None:
        self._metrics = message.metrics
        # There are thousands of metrics: to parse this is quicker than to set it field by field.
        self._start = pb.Metric(timestamp=time, label_values=base).SerializeToString()

    def add(self, name: str, value: int, *labels: str) -> None:
        metric = self._metrics.add()
        metric.MergeFromString(self._start)
        metric.name = name
        metric.metric_type = KINDS[name]
        if labels:
            metric.label_values.extend(labels)
        metric.value.value = value


def pod_message(
    pod: PodDetails, groups: Set[str], *, now: int, timestamp: int = 0
) -> pb.PodSandboxMetrics:
    """All metrics of a pod. ``timestamp`` is 0 unless they are kept and told later (ns)."""
    message = pb.PodSandboxMetrics(pod_sandbox_id=pod.record.id)
    owner = pod.record.config
    if "network" in groups:
        base = (pod.record.id, pod.record.full_name, "", owner.namespace, owner.name, _POD)
        _network(_Metrics(message, base, timestamp), pod)
    for one in pod.containers:
        record = one.record
        image = record.config.image
        base = (
            record.id,
            record.full_name,
            image.user_specified or record.image_ref or image.image,
            owner.namespace,
            owner.name,
            record.config.name,
        )
        container = message.container_metrics.add(container_id=record.id)
        metrics = _Metrics(container, base, timestamp)
        metrics.add("container_last_seen", now // _SECOND)
        for group, write in _WRITERS.items():
            if group in groups:
                write(metrics, one)
    return message


def _network(metrics: _Metrics, pod: PodDetails) -> None:
    for one in pod.interfaces:
        for direction, counts in (
            ("receive", (one.rx_bytes, one.rx_packets, one.rx_dropped, one.rx_errors)),
            ("transmit", (one.tx_bytes, one.tx_packets, one.tx_dropped, one.tx_errors)),
        ):
            kinds = "bytes", "packets", "packets_dropped", "errors"
            for kind, count in zip(kinds, counts, strict=True):
                metrics.add(f"container_network_{direction}_{kind}_total", count, one.name)


def _cpu(metrics: _Metrics, one: ContainerDetails) -> None:
    usage, cpu = one.cgroup.stats.cpu, one.cgroup.cpu
    if usage is None or cpu is None:
        return
    metrics.add("container_cpu_user_seconds_total", cpu.user // _SECOND)
    metrics.add("container_cpu_system_seconds_total", cpu.system // _SECOND)
    metrics.add("container_cpu_usage_seconds_total", usage.usage // _SECOND, "total")
    metrics.add("container_cpu_cfs_periods_total", cpu.periods)
    metrics.add("container_cpu_cfs_throttled_periods_total", cpu.throttled_periods)
    metrics.add("container_cpu_cfs_throttled_seconds_total", cpu.throttled_time // _SECOND)


def _disk(metrics: _Metrics, one: ContainerDetails) -> None:
    disk = one.disk
    if disk is None:
        return
    metrics.add("container_fs_inodes_free", disk.inodes_free, disk.device)
    metrics.add("container_fs_inodes_total", disk.inodes_total, disk.device)
    metrics.add("container_fs_limit_bytes", disk.limit, disk.device)
    metrics.add("container_fs_usage_bytes", disk.usage, disk.device)


def _disk_io(metrics: _Metrics, one: ContainerDetails) -> None:
    for part, ios in (("_bytes", one.cgroup.io_bytes), ("", one.cgroup.io_operations)):
        for io in ios:
            device = device_name(io.major, io.minor)
            if part:
                numbers = str(io.major), str(io.minor)
                metrics.add(
                    "container_blkio_device_usage_total", io.count, device, *numbers, io.operation
                )
            if io.operation in ("read", "write"):
                metrics.add(f"container_fs_{io.operation}s{part}_total", io.count, device)


def _hugepages(metrics: _Metrics, one: ContainerDetails) -> None:
    for pages in one.cgroup.hugepages:
        metrics.add("container_hugetlb_usage_bytes", pages.usage, pages.page_size)
        metrics.add("container_hugetlb_max_usage_bytes", pages.max_usage, pages.page_size)


def _memory(metrics: _Metrics, one: ContainerDetails) -> None:
    memory, more = one.cgroup.stats.memory, one.cgroup.memory
    if memory is None or more is None:
        return
    metrics.add("container_memory_cache", memory.cache)
    metrics.add("container_memory_rss", memory.rss)
    metrics.add("container_memory_kernel_usage", more.kernel)
    metrics.add("container_memory_mapped_file", memory.mapped_file)
    metrics.add("container_memory_swap", memory.swap_usage)
    metrics.add("container_memory_failcnt", more.limit_hits)
    metrics.add("container_memory_usage_bytes", memory.usage)
    metrics.add("container_memory_max_usage_bytes", more.max_usage)
    metrics.add("container_memory_working_set_bytes", memory.working_set)
    for kind, count in (
        ("pgfault", memory.page_faults),
        ("pgmajfault", memory.major_page_faults),
    ):
        # A container's own cgroup and all below it are counted as one.
        for scope in ("container", "hierarchy"):
            metrics.add("container_memory_failures_total", count, kind, scope)


def _oom(metrics: _Metrics, one: ContainerDetails) -> None:
    if one.cgroup.memory is not None:
        metrics.add("container_oom_events_total", one.cgroup.memory.oom_kills)


def _pressure(metrics: _Metrics, one: ContainerDetails) -> None:
    stats = one.cgroup.stats
    parts: tuple[tuple[str, Psi | None], ...] = (
        ("cpu", stats.cpu.psi if stats.cpu else None),
        ("memory", stats.memory.psi if stats.memory else None),
        ("io", stats.io_psi),
    )
    for name, psi in parts:
        if psi is not None:
            start = f"container_pressure_{name}"
            metrics.add(f"{start}_stalled_seconds_total", psi.full.total // _SECOND)
            metrics.add(f"{start}_waiting_seconds_total", psi.some.total // _SECOND)


def _process(metrics: _Metrics, one: ContainerDetails) -> None:
    facts, pids = one.processes, one.cgroup.pids
    if facts is not None:
        metrics.add("container_processes", facts.processes)
        metrics.add("container_file_descriptors", facts.descriptors)
        metrics.add("container_sockets", facts.sockets)
        if facts.nofile is not None:
            metrics.add("container_ulimits_soft", facts.nofile, "max_open_files")
    if pids is not None:
        metrics.add("container_threads", pids.current)
        metrics.add("container_threads_max", pids.limit)


def _spec(metrics: _Metrics, one: ContainerDetails) -> None:
    limits: Resources = (one.live.config or one.record.config).resources
    metrics.add("container_spec_cpu_period", limits.cpu_period)
    if limits.cpu_quota > 0:
        metrics.add("container_spec_cpu_quota", limits.cpu_quota)
    metrics.add("container_spec_cpu_shares", limits.cpu_shares)
    metrics.add("container_spec_memory_limit_bytes", _limit(limits.memory_limit))
    metrics.add("container_spec_memory_swap_limit_bytes", _limit(limits.memory_swap_limit))
    kept = limits.unified.get("memory.min", "0").strip()
    metrics.add("container_spec_memory_reservation_limit_bytes", int(kept) if kept.isdigit() else 0)
    started = one.live.started_at or one.record.created_at
    metrics.add("container_start_time_seconds", started // _SECOND)


def _limit(value: int) -> int:
    return value if 0 < value < _NO_LIMIT else 0


_WRITERS: Final[dict[str, Callable[[_Metrics, ContainerDetails], None]]] = {
    "cpu": _cpu,
    "disk": _disk,
    "diskIO": _disk_io,
    "hugetlb": _hugepages,
    "memory": _memory,
    "oom": _oom,
    "pressure": _pressure,
    "process": _process,
    "spec": _spec,
}
