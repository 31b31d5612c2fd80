"""Metrics of real pods, beside what the kernel's files say."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from tests.support.pods import Place, busybox, pod

from trilby.cri.config import DaemonConfig
from trilby.cri.metrics import Metrics, stop
from trilby.cri.pod_metrics_table import BASE, FAMILIES
from trilby.cri.proto import stats_pb2 as pb
from trilby.cri.stats import StatsRpcs
from trilby.pods.engine import Engine
from trilby.pods.logs_read import LogOptions
from trilby.pods.model_common import NamespaceMode, NamespaceOptions, Resources
from trilby.pods.model_sandbox import SandboxSecurity
from trilby.system.cgroups import Cgroup

ALL = DaemonConfig(included_pod_metrics=("all",))
#: A listening socket, a child, and some hundred periods of the quota: then all is still.
BUSY = "nc -l -p 1234 & i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; wait"
LIMITS = Resources(
    cpu_period=10_000,
    cpu_quota=2_000,
    cpu_shares=512,
    memory_limit=64 << 20,
    memory_swap_limit=64 << 20,
)


async def metrics_of(rpcs: StatsRpcs, sandbox: str) -> pb.PodSandboxMetrics:
    found = (await rpcs.list_pod_sandbox_metrics(pb.ListPodSandboxMetricsRequest())).pod_metrics
    return next(one for one in found if one.pod_sandbox_id == sandbox)


def value(found: pb.PodSandboxMetrics, name: str, *labels: str) -> int:
    """The one value that has these own labels."""
    metrics = [*found.metrics, *(each for one in found.container_metrics for each in one.metrics)]
    (one,) = [
        metric.value.value
        for metric in metrics
        if metric.name == name and tuple(metric.label_values[len(BASE) :]) == labels
    ]
    return one


@pytest.fixture
async def busy(engine: Engine) -> tuple[str, str]:
    """A sandbox and its container, which has done its work."""
    sandbox = await engine.run_sandbox(pod("web"))
    config = busybox("main", "sh", "-c", BUSY, resources=LIMITS)
    container = await engine.create_container(sandbox, config)
    await engine.start_container(container)
    async for _ in engine.logs(container, LogOptions(follow=True)):
        break
    return sandbox, container


async def test_all_that_is_described_is_told(engine: Engine, busy: tuple[str, str]) -> None:
    rpcs = StatsRpcs(engine, ALL)
    described = (await rpcs.list_metric_descriptors(pb.ListMetricDescriptorsRequest())).descriptors
    keys = {one.name: len(one.label_keys) for one in described}
    found = await metrics_of(rpcs, busy[0])
    metrics = [*found.metrics, *found.container_metrics[0].metrics]
    assert all(len(one.label_values) == keys[one.name] for one in metrics)
    assert all(one.timestamp == 0 for one in metrics)
    # What a host or its controllers cannot tell, or what had nothing to do with a disk.
    optional = ("container_pressure_", "container_hugetlb_", "container_blkio_", "container_fs_")
    missing = {one.name for one in FAMILIES} - {one.name for one in metrics}
    assert all(name.startswith(optional) for name in missing), missing
    assert not missing & {"container_fs_usage_bytes", "container_fs_limit_bytes"}
    labels = dict(zip(BASE, metrics[-1].label_values, strict=False))
    assert labels["id"] == busy[1] and labels["pod"] == "web" and labels["container"] == "main"
    assert labels["namespace"] == "test" and labels["image"]
    assert labels["name"].startswith("k8s_main_web_test_")


async def test_figures_are_the_kernels(engine: Engine, place: Place, busy: tuple[str, str]) -> None:
    sandbox, container = busy
    found = await metrics_of(StatsRpcs(engine, ALL), sandbox)
    cgroup = Cgroup(f"{place.cgroup_parent}/{sandbox}/{container}")
    unified = cgroup.hierarchies.unified
    stat = dict(line.split() for line in cgroup.read("cpu", "cpu.stat").splitlines())
    assert value(found, "container_cpu_cfs_periods_total") <= int(stat["nr_periods"])
    throttled = value(found, "container_cpu_cfs_throttled_periods_total")
    assert 0 < throttled <= int(stat["nr_throttled"])
    name = "memory.current" if unified else "memory.usage_in_bytes"
    usage = int(cgroup.read("memory", name))
    assert abs(value(found, "container_memory_usage_bytes") - usage) < 1 << 20
    if not unified:
        most = int(cgroup.read("memory", "memory.max_usage_in_bytes"))
        assert 0 < value(found, "container_memory_max_usage_bytes") <= most
    assert value(found, "container_memory_failures_total", "pgfault", "container") > 0
    assert value(found, "container_oom_events_total") == 0

    pids = cgroup.pids()
    assert value(found, "container_processes") == len(pids) == 2
    assert value(found, "container_threads") == int(cgroup.read("pids", "pids.current"))
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
    assert value(found, "container_file_descriptors") == descriptors
    assert value(found, "container_sockets") == 1
    with open(f"/proc/{min(pids)}/limits") as file:
        (line,) = [line for line in file if line.startswith("Max open files")]
    assert value(found, "container_ulimits_soft", "max_open_files") == int(line.split()[3])

    disk = os.statvfs(place.root)
    (device,) = {
        one.label_values[len(BASE)]
        for one in found.container_metrics[0].metrics
        if one.name == "container_fs_limit_bytes"
    }
    assert value(found, "container_fs_limit_bytes", device) == disk.f_blocks * disk.f_frsize
    assert value(found, "container_fs_inodes_total", device) == disk.f_files
    assert value(found, "container_fs_usage_bytes", device) > 0

    assert value(found, "container_spec_cpu_quota") == 2_000
    assert value(found, "container_spec_cpu_shares") == 512
    assert value(found, "container_spec_memory_limit_bytes") == 64 << 20
    status = engine.container_status(container)
    assert value(found, "container_start_time_seconds") == status.started_at // 10**9
    assert abs(value(found, "container_last_seen") - time.time()) < 10
    with open(f"/proc/{min(pids)}/net/dev") as file:
        (line,) = [line for line in file if line.strip().startswith("eth0:")]
    received = int(line.split(":")[1].split()[0])
    assert 0 < value(found, "container_network_receive_bytes_total", "eth0") <= received


async def test_an_out_of_memory_kill_is_counted(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod())
    # The shell is not killed: it looks on as its child needs too much.
    greedy = "echo 1000 >/proc/self/oom_score_adj; exec tail"
    script = f"head -c 200000000 /dev/zero | sh -c '{greedy}'; echo over; sleep 1000"
    limits = Resources(memory_limit=16 << 20, memory_swap_limit=16 << 20)
    container = await engine.create_container(
        sandbox, busybox("main", "sh", "-c", script, resources=limits)
    )
    await engine.start_container(container)
    async for entry in engine.logs(container, LogOptions(follow=True)):
        if b"over" in entry.data:
            break
    found = await metrics_of(StatsRpcs(engine, ALL), sandbox)
    assert value(found, "container_oom_events_total") >= 1


async def test_host_network_and_chosen_groups(engine: Engine) -> None:
    host = NamespaceOptions(network=NamespaceMode.NODE)
    sandbox = await engine.run_sandbox(pod(security=SandboxSecurity(namespaces=host)))
    await engine.start_container(await engine.create_container(sandbox, busybox()))
    rpcs = StatsRpcs(engine, DaemonConfig(included_pod_metrics=()))
    found = await metrics_of(rpcs, sandbox)
    assert [one.name for one in found.container_metrics[0].metrics] == ["container_last_seen"]
    rpcs.replace(DaemonConfig(included_pod_metrics=("network", "process")))
    found = await metrics_of(rpcs, sandbox)
    assert not found.metrics
    names = {one.name for one in found.container_metrics[0].metrics}
    assert "container_processes" in names and "container_memory_rss" not in names


async def test_metrics_that_are_kept(engine: Engine, busy: tuple[str, str]) -> None:
    rpcs = StatsRpcs(
        engine, DaemonConfig(included_pod_metrics=("cpu",), stats_collection_period=60)
    )
    first, second = [await metrics_of(rpcs, busy[0]) for _ in range(2)]
    assert first == second
    assert first.container_metrics[0].metrics[0].timestamp > 0
    stream = rpcs.stream_pod_sandbox_metrics(pb.StreamPodSandboxMetricsRequest())
    chunks = [chunk async for chunk in stream]
    assert [one for chunk in chunks for one in chunk.pod_sandbox_metrics] == [first]


class Told(Metrics):
    """Says when it was told of something."""

    def __init__(self) -> None:
        super().__init__(DaemonConfig())
        self.killed, self.removed = asyncio.Event(), asyncio.Event()

    def container_oom(self, name: str) -> None:
        super().container_oom(name)
        self.killed.set()

    def container_removed(self, name: str) -> None:
        super().container_removed(name)
        self.removed.set()


async def test_the_daemon_counts_kills_too(engine: Engine) -> None:
    metrics = Told()
    task = asyncio.create_task(metrics.follow(engine))
    try:
        sandbox = await engine.run_sandbox(pod("web"))
        limits = Resources(memory_limit=16 << 20, memory_swap_limit=16 << 20)
        script = "head -c 200000000 /dev/zero | exec tail"
        config = busybox("hungry", "sh", "-c", script, resources=limits)
        container = await engine.create_container(sandbox, config)
        await engine.start_container(container)
        await asyncio.wait_for(metrics.killed.wait(), 10)
        assert metrics.oom_total == 1
        ((name, count),) = metrics.oom_by_name.items()
        assert name.startswith("k8s_hungry_web_test_") and count == 1
        await engine.remove_sandbox(sandbox)
        await asyncio.wait_for(metrics.removed.wait(), 10)
        assert not metrics.oom_by_name and metrics.oom_total == 1
    finally:
        await stop(task)
