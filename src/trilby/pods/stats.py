"""What containers and sandboxes use: cgroups, network interfaces, writable layers."""

from __future__ import annotations

import os
import time

from trilby.pods.engine_parts import Parts
from trilby.pods.errors import ContainerNotFound
from trilby.pods.model_status import (
    ContainerStats,
    CpuStats,
    FilesystemStats,
    InterfaceStats,
    MemoryStats,
    Pressure,
    PressureAverages,
    SandboxStats,
    SwapStats,
)
from trilby.pods.sandbox_cgroup import cgroup_path
from trilby.pods.state import ContainerRecord
from trilby.pods.state_process import is_alive
from trilby.system import cgroup_stats
from trilby.system.cgroups import Cgroup
from trilby.system.errors import CgroupFailed


class Sampler:
    """Keeps the last reading of each cgroup, to tell how many cores are used now."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._last: dict[str, tuple[int, int]] = {}

    def container(self, container_id: str) -> ContainerStats:
        """See Engine.container_stats. Blocking."""
        sandbox_id, container_id = self._parts.layout.find_container(container_id)
        return self._container(self._parts.layout.load_container(sandbox_id, container_id))

    def _container(self, record: ContainerRecord) -> ContainerStats:
        used = self._read(record.cgroup)
        config = record.config
        return ContainerStats(
            id=record.id,
            sandbox_id=record.sandbox_id,
            name=config.name,
            attempt=config.attempt,
            labels=config.labels,
            annotations=config.annotations,
            cpu=self._cpu(record.cgroup, used),
            memory=_memory(used),
            swap=_swap(used),
            writable_layer=self._layer(record.id),
            io_pressure=_pressure(used.io_psi if used else None),
            process_count=used.pids.current if used and used.pids else None,
        )

    def sandbox(self, sandbox_id: str) -> SandboxStats:
        """See Engine.sandbox_stats. Blocking."""
        layout = self._parts.layout
        record = layout.load_sandbox(layout.find_sandbox(sandbox_id))
        config = record.config
        path = cgroup_path(record.cgroup)
        used = self._read(path)
        containers = []
        for container_id in layout.container_ids(record.id):
            try:
                containers.append(self._container(layout.load_container(record.id, container_id)))
            except ContainerNotFound:
                continue
        return SandboxStats(
            id=record.id,
            name=config.name,
            uid=config.uid,
            namespace=config.namespace,
            attempt=config.attempt,
            labels=config.labels,
            annotations=config.annotations,
            cpu=self._cpu(path, used),
            memory=_memory(used),
            io_pressure=_pressure(used.io_psi if used else None),
            timestamp=used.time if used else time.time_ns(),
            interfaces=self._interfaces(record.id),
            process_count=used.pids.current if used and used.pids else None,
            containers=tuple(containers),
        )

    def _read(self, path: str) -> cgroup_stats.CgroupStats | None:
        try:
            return Cgroup(path).stats()
        except CgroupFailed:
            return None  # it has ended

    def _cpu(self, path: str, used: cgroup_stats.CgroupStats | None) -> CpuStats | None:
        if used is None or used.cpu is None:
            self._last.pop(path, None)
            return None
        cores = None
        if path in self._last:
            before, usage = self._last[path]
            if used.time > before:
                cores = max(0, used.cpu.usage - usage) * 10**9 // (used.time - before)
        self._last[path] = used.time, used.cpu.usage
        return CpuStats(
            timestamp=used.time,
            usage_core_nanoseconds=used.cpu.usage,
            usage_nano_cores=cores,
            pressure=_pressure(used.cpu.psi),
        )

    def _layer(self, container_id: str) -> FilesystemStats | None:
        try:
            path, size, inodes = self._parts.rootfs.usage(container_id)
        except OSError:
            return None
        return FilesystemStats(
            timestamp=time.time_ns(), mountpoint=path, used_bytes=size, inodes_used=inodes
        )

    def _interfaces(self, sandbox_id: str) -> tuple[InterfaceStats, ...]:
        """From /proc of a process of the pod: without one there is no traffic to speak of."""
        layout = self._parts.layout
        pin = f"{layout.sandbox_run(sandbox_id)}/ns/net"
        if not os.path.exists(pin):
            return ()
        for container_id in layout.container_ids(sandbox_id):
            live = layout.load_container_live(container_id)
            if live is not None and is_alive(live.pid, live.pid_start):
                try:
                    with open(f"/proc/{live.pid}/net/dev") as file:
                        return parse_net_dev(file.read())
                except OSError:
                    continue
        return ()


def parse_net_dev(text: str) -> tuple[InterfaceStats, ...]:
    """The interfaces of /proc/<pid>/net/dev but for loopback, eth0 first."""
    found = []
    for line in text.splitlines()[2:]:
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if not colon or name.strip() == "lo" or len(fields) < 11:
            continue
        found.append(
            InterfaceStats(
                name=name.strip(),
                rx_bytes=int(fields[0]),
                rx_errors=int(fields[2]),
                tx_bytes=int(fields[8]),
                tx_errors=int(fields[10]),
            )
        )
    return tuple(sorted(found, key=lambda one: (one.name != "eth0", one.name)))


def _memory(used: cgroup_stats.CgroupStats | None) -> MemoryStats | None:
    if used is None or used.memory is None:
        return None
    memory = used.memory
    return MemoryStats(
        timestamp=used.time,
        working_set=memory.working_set,
        usage=memory.usage,
        available=memory.available if memory.limit else None,
        rss=memory.rss,
        page_faults=memory.page_faults,
        major_page_faults=memory.major_page_faults,
        pressure=_pressure(memory.psi),
    )


def _swap(used: cgroup_stats.CgroupStats | None) -> SwapStats | None:
    if used is None or used.memory is None:
        return None
    memory = used.memory
    available = max(memory.swap_limit - memory.swap_usage, 0) if memory.swap_limit else None
    return SwapStats(timestamp=used.time, usage=memory.swap_usage, available=available)


def _pressure(psi: cgroup_stats.Psi | None) -> Pressure | None:
    if psi is None:
        return None
    return Pressure(full=_averages(psi.full), some=_averages(psi.some))


def _averages(line: cgroup_stats.Pressure) -> PressureAverages:
    # The CRI counts microseconds, as the kernel prints.
    return PressureAverages(
        total=line.total // 1000, avg10=line.avg10, avg60=line.avg60, avg300=line.avg300
    )
