"""The statistics RPCs on real pods, beside what the kernel's files say."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.support.pods import Place, busybox, pod

from trilby.cri import filters
from trilby.cri.config import DaemonConfig
from trilby.cri.proto import stats_pb2 as pb
from trilby.cri.stats import StatsRpcs
from trilby.errors import NotFound
from trilby.pods.engine import Engine
from trilby.pods.logs_read import LogOptions
from trilby.pods.model_common import NamespaceMode, NamespaceOptions, Resources
from trilby.pods.model_sandbox import SandboxSecurity
from trilby.system.cgroups import Cgroup

#: Two processes and memory that stays: nothing of the figures moves while they are compared.
QUIET = "x=$(head -c 3000000 /dev/zero | tr '\\0' x); sleep 1000 & echo ready; wait"
#: Counts of pages are brought up to date now and then.
SLACK = 1 << 20


async def run(engine: Engine, sandbox: str, name: str, *command: str, **changes: object) -> str:
    container = await engine.create_container(sandbox, busybox(name, *command, **changes))
    await engine.start_container(container)
    return container


async def first_line(engine: Engine, container: str) -> bytes:
    async for entry in engine.logs(container, LogOptions(follow=True)):
        return entry.data
    return b""


async def ids(rpcs: StatsRpcs, **wanted: object) -> set[str]:
    request = pb.ListContainerStatsRequest(filter=pb.ContainerStatsFilter(**wanted))  # type: ignore[arg-type]
    found = (await rpcs.list_container_stats(request)).stats
    return {one.attributes.id for one in found}


async def sandbox_ids(rpcs: StatsRpcs, **wanted: object) -> set[str]:
    request = pb.ListPodSandboxStatsRequest(filter=pb.PodSandboxStatsFilter(**wanted))  # type: ignore[arg-type]
    found = (await rpcs.list_pod_sandbox_stats(request)).stats
    return {one.attributes.id for one in found}


async def sandbox_stats(rpcs: StatsRpcs, sandbox: str) -> pb.PodSandboxStats:
    request = pb.PodSandboxStatsRequest(pod_sandbox_id=sandbox)
    return (await rpcs.pod_sandbox_stats(request)).stats


def table(cgroup: Cgroup, controller: str, name: str) -> dict[str, int]:
    lines = (line.split() for line in cgroup.read(controller, name).splitlines())
    return {key: int(value) for key, value in lines}


def kernel(cgroup: Cgroup) -> tuple[int, int, int, int]:
    """Processor time, memory, file pages that are not used, and anonymous memory."""
    if cgroup.hierarchies.unified:
        details = table(cgroup, "memory", "memory.stat")
        usage = table(cgroup, "cpu", "cpu.stat")["usage_usec"] * 1000
        memory = int(cgroup.read("memory", "memory.current"))
        return usage, memory, details["inactive_file"], details["anon"]
    details = table(cgroup, "memory", "memory.stat")
    usage = int(cgroup.read("cpuacct", "cpuacct.usage"))
    memory = int(cgroup.read("memory", "memory.usage_in_bytes"))
    return usage, memory, details["total_inactive_file"], details["total_rss"]


async def test_figures_are_the_kernels(engine: Engine, place: Place) -> None:
    rpcs = StatsRpcs(engine, DaemonConfig())
    sandbox = await engine.run_sandbox(pod("web", labels={"app": "web"}))
    limits = Resources(memory_limit=64 << 20, memory_swap_limit=64 << 20)
    container = await run(
        engine, sandbox, "main", "sh", "-c", QUIET, resources=limits, labels={"part": "main"}
    )
    await first_line(engine, container)
    request = pb.ContainerStatsRequest(container_id=container[:12])
    stats = (await rpcs.container_stats(request)).stats
    cgroup = Cgroup(f"{place.cgroup_parent}/{sandbox}/{container}")
    usage, memory, inactive, anonymous = kernel(cgroup)
    assert stats.attributes.id == container
    assert (stats.attributes.metadata.name, stats.attributes.labels["part"]) == ("main", "main")
    assert 0 < stats.cpu.usage_core_nano_seconds.value <= usage
    assert usage - stats.cpu.usage_core_nano_seconds.value < 50_000_000
    assert abs(stats.memory.usage_bytes.value - memory) < SLACK
    assert abs(stats.memory.working_set_bytes.value - (memory - inactive)) < SLACK
    assert abs(stats.memory.rss_bytes.value - anonymous) < SLACK and anonymous > 2_000_000
    left = stats.memory.available_bytes.value + stats.memory.working_set_bytes.value
    assert left == 64 << 20
    assert stats.memory.page_faults.value > 0
    assert stats.swap.swap_usage_bytes.value == stats.swap.swap_available_bytes.value == 0
    assert stats.swap.HasField("swap_available_bytes")
    pressure = cgroup.hierarchies.unified
    assert stats.cpu.HasField("psi") == stats.io.HasField("psi") == pressure
    for part in (stats.cpu, stats.memory, stats.swap, stats.writable_layer):
        assert part.timestamp > 0
    assert stats.writable_layer.used_bytes.value > 0
    assert stats.writable_layer.inodes_used.value > 0
    assert stats.writable_layer.fs_id.mountpoint.startswith("/")

    whole = await sandbox_stats(rpcs, sandbox[:12])
    assert whole.attributes.id == sandbox and whole.attributes.metadata.name == "web"
    assert whole.attributes.labels["app"] == "web"
    assert whole.linux.process.process_count.value == 2
    assert whole.linux.cpu.usage_core_nano_seconds.value >= usage
    assert whole.linux.memory.usage_bytes.value + SLACK > memory
    assert [one.attributes.id for one in whole.linux.containers] == [container]


async def test_cores_in_use(engine: Engine) -> None:
    rpcs = StatsRpcs(engine, DaemonConfig())
    sandbox = await engine.run_sandbox(pod())
    container = await run(engine, sandbox, "main", "sh", "-c", "echo ready; while :; do :; done")
    await first_line(engine, container)
    assert not (await sandbox_stats(rpcs, sandbox)).linux.cpu.HasField("usage_nano_cores")
    await asyncio.sleep(0.2)
    linux = (await sandbox_stats(rpcs, sandbox)).linux
    # One loop can use one core; a busy machine may give it less.
    for cpu in (linux.cpu, linux.containers[0].cpu):
        assert 50_000_000 < cpu.usage_nano_cores.value < 1_200_000_000


async def test_network_of_the_pod(engine: Engine) -> None:
    rpcs = StatsRpcs(engine, DaemonConfig())
    sandbox = await engine.run_sandbox(pod())
    # No process of the pod yet: a thread enters its namespace.
    before = (await sandbox_stats(rpcs, sandbox)).linux.network
    assert (before.default_interface.name, len(before.interfaces)) == ("eth0", 0)
    gateway = re.sub(r"\.\d+$", ".1", engine.sandbox_status(sandbox).ips[0])
    script = f"nc -w 1 {gateway} 9; cat /proc/net/dev; echo end; sleep 1000"
    container = await run(engine, sandbox, "main", "sh", "-c", script)
    lines = []
    async for entry in engine.logs(container, LogOptions(follow=True)):
        lines.append(entry.data)
        if b"end" in entry.data:
            break
    after = (await sandbox_stats(rpcs, sandbox)).linux.network
    seen = next(line for line in lines if b"eth0:" in line).split()
    assert after.default_interface.rx_bytes.value >= int(seen[1]) > 0
    assert after.default_interface.tx_bytes.value >= int(seen[9]) > 0
    assert after.default_interface.tx_bytes.value >= before.default_interface.tx_bytes.value
    assert after.timestamp > before.timestamp > 0


async def test_no_network_on_the_hosts(engine: Engine) -> None:
    host = NamespaceOptions(network=NamespaceMode.NODE)
    sandbox = await engine.run_sandbox(pod(security=SandboxSecurity(namespaces=host)))
    await run(engine, sandbox, "main")
    linux = (await sandbox_stats(StatsRpcs(engine, DaemonConfig()), sandbox)).linux
    assert not linux.HasField("network") and linux.process.process_count.value == 1


async def test_filters_and_states(engine: Engine) -> None:
    rpcs = StatsRpcs(engine, DaemonConfig())
    first = await engine.run_sandbox(pod("a", labels={"x": "1", "y": "2"}))
    second = await engine.run_sandbox(pod("b", labels={"x": "1"}))
    created = await engine.create_container(first, busybox("c", labels={"n": "1"}))
    running = await run(engine, second, "r", labels={"n": "1", "m": "2"})
    ended = await run(engine, second, "e", "true")
    await engine.wait_container(ended)
    assert (await rpcs.list_container_stats(pb.ListContainerStatsRequest())).stats
    assert await ids(rpcs) == {created, running}
    assert await ids(rpcs, id=created[:10]) == {created}
    assert await ids(rpcs, id="nothing") == await ids(rpcs, id=ended) == set()
    assert await ids(rpcs, pod_sandbox_id=second[:10]) == {running}
    assert await ids(rpcs, pod_sandbox_id="nothing") == set()
    assert await ids(rpcs, label_selector={"n": "1"}) == {created, running}
    assert await ids(rpcs, label_selector={"n": "1", "m": "2"}) == {running}
    assert await ids(rpcs, label_selector={"n": "1", "m": "3"}) == set()
    assert await sandbox_ids(rpcs) == {first, second}
    assert await sandbox_ids(rpcs, id=first[:10]) == {first}
    assert await sandbox_ids(rpcs, id="nothing") == set()
    assert await sandbox_ids(rpcs, label_selector={"x": "1", "y": "2"}) == {first}
    # What has ended has a layer still, but no processes.
    stats = (await rpcs.container_stats(pb.ContainerStatsRequest(container_id=ended))).stats
    assert stats.attributes.id == ended and stats.writable_layer.used_bytes.value > 0
    with pytest.raises(NotFound):
        await rpcs.container_stats(pb.ContainerStatsRequest(container_id="nothing"))
    with pytest.raises(NotFound):
        await sandbox_stats(rpcs, "nothing")
    await engine.stop_sandbox(second)
    assert await sandbox_ids(rpcs) == {first}
    assert await ids(rpcs) == {created}
    stopped = await sandbox_stats(rpcs, second)
    assert stopped.HasField("linux") and not stopped.linux.containers


async def test_streams_have_each_item_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    rpcs = StatsRpcs(engine, DaemonConfig())
    sandboxes = [await engine.run_sandbox(pod(f"p{number}")) for number in range(3)]
    containers = [await engine.create_container(sandbox, busybox()) for sandbox in sandboxes]
    monkeypatch.setattr(filters.chunks, "__defaults__", (2,))
    pods = [
        chunk async for chunk in rpcs.stream_pod_sandbox_stats(pb.StreamPodSandboxStatsRequest())
    ]
    assert [len(chunk.pod_sandbox_stats) for chunk in pods] == [2, 1]
    found = [one.attributes.id for chunk in pods for one in chunk.pod_sandbox_stats]
    assert sorted(found) == sorted(sandboxes)
    request = pb.StreamContainerStatsRequest(filter=pb.ContainerStatsFilter(id=containers[0]))
    chunks = [chunk async for chunk in rpcs.stream_container_stats(request)]
    assert [one.attributes.id for one in chunks[0].container_stats] == containers[:1]
    request.filter.id = "nothing"
    assert [chunk async for chunk in rpcs.stream_container_stats(request)] == []


async def test_a_collection_period_gives_the_same_again(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod())
    await run(engine, sandbox, "main")
    anew = StatsRpcs(engine, DaemonConfig())
    times = [(await sandbox_stats(anew, sandbox)).linux.cpu.timestamp for _ in range(2)]
    assert times[0] < times[1]
    kept = StatsRpcs(engine, DaemonConfig(stats_collection_period=60))
    first, second = [await sandbox_stats(kept, sandbox) for _ in range(2)]
    assert first == second and first.linux.cpu.timestamp > times[1]
    request = pb.ListPodSandboxStatsRequest()
    assert (await kept.list_pod_sandbox_stats(request)).stats[0] == first
