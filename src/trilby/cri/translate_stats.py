"""The engine's statistics to the CRI's messages. What the host cannot tell is absent."""

from __future__ import annotations

from trilby.cri.proto import common_pb2, container_pb2, image_pb2, sandbox_pb2
from trilby.cri.proto import stats_pb2 as pb
from trilby.pods import model_status as model

_UInt = common_pb2.UInt64Value


def container_message(stats: model.ContainerStats) -> pb.ContainerStats:
    """Statistics of one container."""
    return pb.ContainerStats(
        attributes=pb.ContainerAttributes(
            id=stats.id,
            metadata=container_pb2.ContainerMetadata(name=stats.name, attempt=stats.attempt),
            labels=stats.labels,
            annotations=stats.annotations,
        ),
        cpu=_cpu(stats.cpu),
        memory=_memory(stats.memory),
        writable_layer=_layer(stats.writable_layer),
        swap=_swap(stats.swap),
        io=_io(stats.io_pressure, stats.timestamp),
    )


def sandbox_message(stats: model.SandboxStats) -> pb.PodSandboxStats:
    """Statistics of a sandbox and its containers. ``linux`` is always there: callers look in it."""
    return pb.PodSandboxStats(
        attributes=pb.PodSandboxAttributes(
            id=stats.id,
            metadata=sandbox_pb2.PodSandboxMetadata(
                name=stats.name, uid=stats.uid, namespace=stats.namespace, attempt=stats.attempt
            ),
            labels=stats.labels,
            annotations=stats.annotations,
        ),
        linux=pb.LinuxPodSandboxStats(
            cpu=_cpu(stats.cpu),
            memory=_memory(stats.memory),
            network=_network(stats),
            process=_process(stats),
            containers=[container_message(one) for one in stats.containers],
            io=_io(stats.io_pressure, stats.timestamp),
        ),
    )


def _cpu(stats: model.CpuStats | None) -> pb.CpuUsage | None:
    if stats is None:
        return None
    return pb.CpuUsage(
        timestamp=stats.timestamp,
        usage_core_nano_seconds=_UInt(value=stats.usage_core_nanoseconds),
        usage_nano_cores=_given(stats.usage_nano_cores),
        psi=_psi(stats.pressure),
    )


def _memory(stats: model.MemoryStats | None) -> pb.MemoryUsage | None:
    if stats is None:
        return None
    return pb.MemoryUsage(
        timestamp=stats.timestamp,
        working_set_bytes=_UInt(value=stats.working_set),
        available_bytes=_given(stats.available),
        usage_bytes=_UInt(value=stats.usage),
        rss_bytes=_given(stats.rss),
        page_faults=_given(stats.page_faults),
        major_page_faults=_given(stats.major_page_faults),
        psi=_psi(stats.pressure),
    )


def _swap(stats: model.SwapStats | None) -> pb.SwapUsage | None:
    if stats is None:
        return None
    return pb.SwapUsage(
        timestamp=stats.timestamp,
        swap_available_bytes=_given(stats.available),
        swap_usage_bytes=_UInt(value=stats.usage),
    )


def _layer(stats: model.FilesystemStats | None) -> image_pb2.FilesystemUsage | None:
    if stats is None:
        return None
    return image_pb2.FilesystemUsage(
        timestamp=stats.timestamp,
        fs_id=image_pb2.FilesystemIdentifier(mountpoint=stats.mountpoint),
        used_bytes=_UInt(value=stats.used_bytes),
        inodes_used=_UInt(value=stats.inodes_used),
    )


def _network(stats: model.SandboxStats) -> pb.NetworkUsage | None:
    """The first interface is the default one. None on the host's network: a kubelet that finds
    a network without a default interface crashes."""
    if not stats.interfaces:
        return None
    first, *others = map(_interface, stats.interfaces)
    return pb.NetworkUsage(timestamp=stats.timestamp, default_interface=first, interfaces=others)


def _interface(stats: model.InterfaceStats) -> pb.NetworkInterfaceUsage:
    return pb.NetworkInterfaceUsage(
        name=stats.name,
        rx_bytes=_UInt(value=stats.rx_bytes),
        rx_errors=_UInt(value=stats.rx_errors),
        tx_bytes=_UInt(value=stats.tx_bytes),
        tx_errors=_UInt(value=stats.tx_errors),
    )


def _process(stats: model.SandboxStats) -> pb.ProcessUsage | None:
    if stats.process_count is None:
        return None
    return pb.ProcessUsage(
        timestamp=stats.timestamp, process_count=_UInt(value=stats.process_count)
    )


def _io(pressure: model.Pressure | None, timestamp: int) -> pb.IoUsage | None:
    return None if pressure is None else pb.IoUsage(timestamp=timestamp, psi=_psi(pressure))


def _psi(pressure: model.Pressure | None) -> pb.PsiStats | None:
    if pressure is None:
        return None
    return pb.PsiStats(Full=_averages(pressure.full), Some=_averages(pressure.some))


def _averages(line: model.PressureAverages) -> pb.PsiData:
    return pb.PsiData(Total=line.total, Avg10=line.avg10, Avg60=line.avg60, Avg300=line.avg300)


def _given(value: int | None) -> common_pb2.UInt64Value | None:
    return None if value is None else _UInt(value=value)
