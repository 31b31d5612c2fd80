"""What containers and sandboxes use: cgroups, network interfaces, writable layers.

Everything here blocks, and is safe in threads: one reading at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from trilby.pods.engine_parts import Parts
from trilby.pods.errors import PodsError
from trilby.pods.model_status import (
    ContainerStats,
    CpuStats,
    MemoryStats,
    Pressure,
    PressureAverages,
    SandboxStats,
    SwapStats,
)
from trilby.pods.sandbox_cgroup import cgroup_path
from trilby.pods.state import CREATING, READY, ContainerLive, ContainerRecord, SandboxRecord
from trilby.pods.state_status import container_exit
from trilby.pods.stats_memory import CpuRates, LayerUsage, Remembered
from trilby.pods.stats_network import pod_interfaces
from trilby.system import cgroup_stats
from trilby.system.cgroups import Cgroup, detect
from trilby.system.errors import CgroupFailed

#: So many records of what was removed are no matter.
_FEW: Final = 128


class Live:
    """A container whose processes are there: created or running."""

    __slots__ = ("live", "record")

    def __init__(self, record: ContainerRecord, live: ContainerLive) -> None:
        self.record = record
        self.live = live


class Sampler:
    """Reads statistics, and keeps what it takes to tell rates.

    ``period``: a reading that is not older than so many seconds is given again; 0 reads anew.
    """

    def __init__(self, parts: Parts, period: float = 0) -> None:
        self.period = period
        self.layers = LayerUsage(parts.rootfs)
        self._parts = parts
        self._layout = parts.layout
        self._rates = CpuRates()
        self._containers: Remembered[ContainerStats] = Remembered()
        self._sandboxes: Remembered[SandboxStats] = Remembered()
        # Records never change; statistics are asked for again and again.
        self._sandbox_records: Remembered[SandboxRecord] = Remembered()
        self._container_records: Remembered[ContainerRecord] = Remembered()
        self._most_records = _FEW
        self.lock = threading.RLock()

    def container(self, container_id: str) -> ContainerStats:
        """Of one container in any state; ``container_id`` may be a unique prefix.

        Raises ContainerNotFound.
        """
        with self.lock:
            status = self._parts.inventory.container(container_id)
            return self._container(self._container_record(status.sandbox_id, status.id))

    def sandbox(self, sandbox_id: str) -> SandboxStats:
        """Of one sandbox in any state, and of its created and running containers.

        Raises SandboxNotFound.
        """
        with self.lock:
            status = self._parts.inventory.sandbox(sandbox_id)
            return self._sandbox(self._sandbox_record(status.id))

    def containers(self, wanted: Callable[[ContainerRecord], bool]) -> list[ContainerStats]:
        """Of the created and running containers that are wanted."""
        with self.lock:
            found = []
            for sandbox_id in self._layout.sandbox_ids():
                for one in self.live_containers(sandbox_id):
                    if wanted(one.record):
                        found.append(self._container(one.record))
            return found

    def sandboxes(self, wanted: Callable[[SandboxRecord], bool]) -> list[SandboxStats]:
        """Of the ready sandboxes that are wanted."""
        with self.lock:
            return [self._sandbox(record) for record in self.ready_sandboxes() if wanted(record)]

    # Which there are

    def ready_sandboxes(self) -> Iterator[SandboxRecord]:
        """The sandboxes that are not being made, and were not stopped."""
        for sandbox_id in self._layout.sandbox_ids():
            try:
                live = self._layout.load_sandbox_live(sandbox_id)
                if live is not None and live.phase == READY:
                    yield self._sandbox_record(sandbox_id)
            except PodsError:
                continue  # being removed just now

    def live_containers(self, sandbox_id: str) -> Iterator[Live]:
        """A sandbox' created and running containers."""
        for container_id in self._layout.container_ids(sandbox_id):
            try:
                live = self._layout.load_container_live(container_id)
                if live is None or live.phase == CREATING:
                    continue
                record = self._container_record(sandbox_id, container_id)
            except PodsError:
                continue  # being removed just now
            if container_exit(self._layout, record, live) is None:
                yield Live(record, live)

    def _sandbox_record(self, sandbox_id: str) -> SandboxRecord:
        record = self._sandbox_records.get(sandbox_id)
        if record is None:
            record = self._layout.load_sandbox(sandbox_id)
            self._sandbox_records.put(sandbox_id, record)
            self._tidy()
        return record

    def _container_record(self, sandbox_id: str, container_id: str) -> ContainerRecord:
        record = self._container_records.get(container_id)
        if record is None:
            record = self._layout.load_container(sandbox_id, container_id)
            self._container_records.put(container_id, record)
            self._tidy()
        return record

    def _tidy(self) -> None:
        """Forget what was removed, once that may be half of it: jobs come and go by hundreds."""
        records, pods = self._container_records, self._sandbox_records
        if len(records) + len(pods) < self._most_records:
            return
        sandboxes = set(self._layout.sandbox_ids())
        containers = {one for pod in sandboxes for one in self._layout.container_ids(pod)}
        pods.keep(sandboxes)
        records.keep(containers)
        self._sandboxes.keep(sandboxes)
        self._containers.keep(containers)
        self.layers.keep(containers)
        self._rates.keep(
            {record.cgroup for record in records.values()}
            | {cgroup_path(record.cgroup) for record in pods.values()}
        )
        self._most_records = 2 * (len(sandboxes) + len(containers)) + _FEW

    def interfaces_pids(self, sandbox_id: str, containers: list[Live]) -> Iterator[int]:
        """Processes that are probably in the pod's network; mostly the first will do."""
        for one in containers:
            yield one.live.pid
        live = self._layout.load_sandbox_live(sandbox_id)
        if live is not None and live.infra_pid:
            yield live.infra_pid

    def network_pin(self, sandbox_id: str) -> str:
        return f"{self._layout.sandbox_run(sandbox_id)}/ns/net"

    # Reading

    def _container(self, record: ContainerRecord) -> ContainerStats:
        known = self._containers.get(record.id, self.period)
        if known is not None:
            return known
        used = _read(record.cgroup)
        config = record.config
        stats = ContainerStats(
            id=record.id,
            sandbox_id=record.sandbox_id,
            name=config.name,
            attempt=config.attempt,
            labels=config.labels,
            annotations=config.annotations,
            cpu=self._cpu(record.cgroup, used),
            memory=_memory(used),
            swap=_swap(used),
            writable_layer=self.layers.usage(record.id),
            io_pressure=_pressure(used.io_psi if used else None),
            process_count=_processes(record.cgroup, used),
            timestamp=used.time if used else time.time_ns(),
        )
        if self.period:
            self._containers.put(record.id, stats)
        return stats

    def _sandbox(self, record: SandboxRecord) -> SandboxStats:
        known = self._sandboxes.get(record.id, self.period)
        if known is not None:
            return known
        config = record.config
        path = cgroup_path(record.cgroup)
        used = _read(path)
        containers = list(self.live_containers(record.id))
        pids = self.interfaces_pids(record.id, containers)
        stats = SandboxStats(
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
            interfaces=pod_interfaces(self.network_pin(record.id), pids),
            process_count=_processes(path, used),
            containers=tuple(self._container(one.record) for one in containers),
        )
        if self.period:
            self._sandboxes.put(record.id, stats)
        return stats

    def _cpu(self, path: str, used: cgroup_stats.CgroupStats | None) -> CpuStats | None:
        if used is None or used.cpu is None:
            return None
        return CpuStats(
            timestamp=used.time,
            usage_core_nanoseconds=used.cpu.usage,
            usage_nano_cores=self._rates.rate(path, used.time, used.cpu.usage),
            pressure=_pressure(used.cpu.psi),
        )


def _read(path: str) -> cgroup_stats.CgroupStats | None:
    try:
        return Cgroup(path).stats()
    except CgroupFailed:
        return None  # it has ended


def _processes(path: str, used: cgroup_stats.CgroupStats | None) -> int | None:
    found = cgroup_stats.processes(detect(), path) if used else None
    return None if found is None else len(found)


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
    limit = memory.swap_limit
    available = None if limit is None else max(limit - memory.swap_usage, 0)
    return SwapStats(timestamp=used.time, usage=memory.swap_usage, available=available)


def _pressure(psi: cgroup_stats.Psi | None) -> Pressure | None:
    if psi is None:
        return None
    return Pressure(full=_averages(psi.full), some=_averages(psi.some))


def _averages(line: cgroup_stats.Pressure) -> PressureAverages:
    return PressureAverages(
        total=line.total, avg10=line.avg10, avg60=line.avg60, avg300=line.avg300
    )
