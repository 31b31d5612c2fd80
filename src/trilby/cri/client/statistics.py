"""What a daemon says that pods use, as the engine's values: translate_stats backwards."""

from __future__ import annotations

from trilby.cri.proto import image_pb2
from trilby.cri.proto import stats_pb2 as pb
from trilby.pods import model_status as model


def sandbox_stats(message: pb.PodSandboxStats) -> model.SandboxStats:
    """Statistics of a sandbox and its containers."""
    attributes, linux = message.attributes, message.linux
    network = linux.network if linux.HasField("network") else None
    interfaces = []
    if network is not None:
        interfaces = [network.default_interface, *network.interfaces]
    return model.SandboxStats(
        id=attributes.id,
        name=attributes.metadata.name,
        uid=attributes.metadata.uid,
        namespace=attributes.metadata.namespace,
        attempt=attributes.metadata.attempt,
        labels=dict(attributes.labels),
        annotations=dict(attributes.annotations),
        cpu=_cpu(linux.cpu) if linux.HasField("cpu") else None,
        memory=_memory(linux.memory) if linux.HasField("memory") else None,
        timestamp=linux.cpu.timestamp,
        interfaces=tuple(map(_interface, interfaces)),
        process_count=linux.process.process_count.value if linux.HasField("process") else None,
        containers=tuple(container_stats(one, attributes.id) for one in linux.containers),
    )


def container_stats(message: pb.ContainerStats, sandbox_id: str) -> model.ContainerStats:
    """Statistics of one container; the CRI's have no sandbox and no number of processes."""
    attributes = message.attributes
    return model.ContainerStats(
        id=attributes.id,
        sandbox_id=sandbox_id,
        name=attributes.metadata.name,
        attempt=attributes.metadata.attempt,
        labels=dict(attributes.labels),
        annotations=dict(attributes.annotations),
        cpu=_cpu(message.cpu) if message.HasField("cpu") else None,
        memory=_memory(message.memory) if message.HasField("memory") else None,
        swap=_swap(message.swap) if message.HasField("swap") else None,
        writable_layer=_layer(message.writable_layer)
        if message.HasField("writable_layer")
        else None,
        timestamp=message.cpu.timestamp,
    )


def _cpu(usage: pb.CpuUsage) -> model.CpuStats:
    return model.CpuStats(
        timestamp=usage.timestamp,
        usage_core_nanoseconds=usage.usage_core_nano_seconds.value,
        usage_nano_cores=usage.usage_nano_cores.value
        if usage.HasField("usage_nano_cores")
        else None,
    )


def _memory(usage: pb.MemoryUsage) -> model.MemoryStats:
    return model.MemoryStats(
        timestamp=usage.timestamp,
        working_set=usage.working_set_bytes.value,
        usage=usage.usage_bytes.value,
        available=usage.available_bytes.value if usage.HasField("available_bytes") else None,
        rss=usage.rss_bytes.value if usage.HasField("rss_bytes") else None,
        page_faults=usage.page_faults.value if usage.HasField("page_faults") else None,
        major_page_faults=usage.major_page_faults.value
        if usage.HasField("major_page_faults")
        else None,
    )


def _swap(usage: pb.SwapUsage) -> model.SwapStats:
    return model.SwapStats(
        timestamp=usage.timestamp,
        usage=usage.swap_usage_bytes.value,
        available=usage.swap_available_bytes.value
        if usage.HasField("swap_available_bytes")
        else None,
    )


def _layer(usage: image_pb2.FilesystemUsage) -> model.FilesystemStats:
    return model.FilesystemStats(
        timestamp=usage.timestamp,
        mountpoint=usage.fs_id.mountpoint,
        used_bytes=usage.used_bytes.value,
        inodes_used=usage.inodes_used.value,
    )


def _interface(usage: pb.NetworkInterfaceUsage) -> model.InterfaceStats:
    return model.InterfaceStats(
        name=usage.name,
        rx_bytes=usage.rx_bytes.value,
        rx_errors=usage.rx_errors.value,
        tx_bytes=usage.tx_bytes.value,
        tx_errors=usage.tx_errors.value,
    )
