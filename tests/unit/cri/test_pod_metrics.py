"""Names, labels and values of pods' metrics."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.cri.pod_metrics import needs, pod_message
from trilby.cri.pod_metrics_table import BASE, FAMILIES, GROUPS, chosen, descriptors
from trilby.cri.proto import stats_pb2 as pb
from trilby.pods.model_common import Resources
from trilby.pods.model_container import ContainerConfig, ImageSpec
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.model_status import InterfaceStats
from trilby.pods.state import ContainerLive, ContainerRecord, SandboxRecord
from trilby.pods.stats_details import (
    ContainerDetails,
    DiskFacts,
    PodDetails,
    ProcessFacts,
    parse_open_files,
)
from trilby.system.cgroup_details import (
    CgroupDetails,
    CpuDetails,
    DeviceIo,
    HugepageUsage,
    MemoryDetails,
    PidStats,
)
from trilby.system.cgroup_stats import CgroupStats, CpuStats, MemoryStats, Pressure, Psi

SECOND = 10**9
PSI = Psi(Pressure(total=3 * SECOND + 1), Pressure(total=2 * SECOND))

CONTAINER = ContainerRecord(
    id="c" * 64,
    sandbox_id="p" * 64,
    full_name="k8s_main_web_default_uid_0",
    config=ContainerConfig(
        name="main",
        image=ImageSpec(image="sha256:1", user_specified="docker.io/library/busybox:1"),
        resources=Resources(
            cpu_period=100000,
            cpu_quota=20000,
            cpu_shares=512,
            memory_limit=1 << 20,
            memory_swap_limit=-1,
            unified={"memory.min": "4096"},
        ),
    ),
    created_at=5 * SECOND,
    handler="runc",
    log_path="",
    cgroup="/p/c",
)
POD = SandboxRecord(
    id="p" * 64,
    full_name="k8s_POD_web_default_uid_0",
    config=SandboxConfig(name="web", uid="uid", namespace="default"),
    created_at=1,
    handler="runc",
    hostname="web",
    cgroup="/p",
    own_cgroup=True,
    log_directory="",
)
DETAILS = ContainerDetails(
    record=CONTAINER,
    live=ContainerLive(phase="running", started_at=7 * SECOND),
    cgroup=CgroupDetails(
        CgroupStats(
            1,
            CpuStats(9 * SECOND, PSI),
            MemoryStats(
                usage=100,
                working_set=90,
                rss=80,
                swap_usage=5,
                cache=20,
                mapped_file=10,
                page_faults=70,
                major_page_faults=60,
                psi=PSI,
            ),
            PSI,
        ),
        CpuDetails(4 * SECOND, 3 * SECOND, 11, 12, 13 * SECOND),
        MemoryDetails(kernel=30, max_usage=110, limit_hits=8, oom_kills=2),
        PidStats(6, 1000),
        (DeviceIo(250, 5, "read", 4096), DeviceIo(250, 5, "sync", 1)),
        (DeviceIo(250, 5, "read", 3), DeviceIo(250, 5, "write", 2)),
        (HugepageUsage("2MB", 2 << 20, 4 << 20),),
    ),
    processes=ProcessFacts(processes=4, descriptors=40, sockets=14, nofile=1024),
    disk=DiskFacts(device="/dev/x", usage=1, limit=2, inodes_total=3, inodes_free=4),
)
ETH0 = InterfaceStats(
    name="eth0",
    rx_bytes=1,
    rx_packets=2,
    rx_errors=3,
    rx_dropped=4,
    tx_bytes=5,
    tx_packets=6,
    tx_errors=7,
    tx_dropped=8,
)


def message(groups: frozenset[str], **changes: int) -> pb.PodSandboxMetrics:
    pod = PodDetails(record=POD, interfaces=(ETH0,), containers=(DETAILS,))
    return pod_message(pod, groups, now=1_700_000_000 * SECOND, **changes)


def values(metrics: list[pb.Metric]) -> dict[str, dict[tuple[str, ...], int]]:
    found: dict[str, dict[tuple[str, ...], int]] = {}
    for one in metrics:
        own = tuple(one.label_values[len(BASE) :])
        assert own not in found.setdefault(one.name, {}), f"{one.name} {own} is there twice"
        found[one.name][own] = one.value.value
    return found


def test_names_are_those_that_prometheus_takes() -> None:
    names = [one.name for one in FAMILIES]
    assert len(set(names)) == len(names)
    for one in FAMILIES:
        assert re.fullmatch(r"container_[a-z_]+", one.name)
        assert set(one.labels).isdisjoint(BASE)
    for described in descriptors(frozenset(GROUPS)):
        assert described.help.endswith(".")
        assert tuple(described.label_keys[:6]) == BASE


def test_every_name_has_a_value_with_its_labels() -> None:
    found = message(frozenset(GROUPS))
    known = {one.name: one for one in FAMILIES}
    metrics = [*found.metrics, *found.container_metrics[0].metrics]
    for one in metrics:
        family = known[one.name]
        assert len(one.label_values) == len(BASE) + len(family.labels)
        assert one.metric_type == family.kind and one.timestamp == 0
    assert {one.name for one in metrics} | {"container_fs_writes_bytes_total"} == set(known)


def test_values() -> None:
    found = message(frozenset(GROUPS))
    assert found.pod_sandbox_id == POD.id
    assert found.container_metrics[0].container_id == CONTAINER.id
    assert list(found.metrics[0].label_values[:6]) == [
        POD.id, POD.full_name, "", "default", "web", "POD",
    ]  # fmt: skip
    labels = list(found.container_metrics[0].metrics[0].label_values)
    image = "docker.io/library/busybox:1"
    assert labels == [CONTAINER.id, CONTAINER.full_name, image, "default", "web", "main"]
    pod = values(list(found.metrics))
    assert pod == {
        f"container_network_{direction}_{kind}_total": {("eth0",): value}
        for direction, kind, value in (
            ("receive", "bytes", 1),
            ("receive", "packets", 2),
            ("receive", "errors", 3),
            ("receive", "packets_dropped", 4),
            ("transmit", "bytes", 5),
            ("transmit", "packets", 6),
            ("transmit", "errors", 7),
            ("transmit", "packets_dropped", 8),
        )
    }
    metrics = values(list(found.container_metrics[0].metrics))
    single = {name: of[()] for name, of in metrics.items() if () in of}
    assert single == {
        "container_last_seen": 1_700_000_000,
        "container_cpu_user_seconds_total": 4,
        "container_cpu_system_seconds_total": 3,
        "container_cpu_cfs_periods_total": 11,
        "container_cpu_cfs_throttled_periods_total": 12,
        "container_cpu_cfs_throttled_seconds_total": 13,
        "container_memory_cache": 20,
        "container_memory_rss": 80,
        "container_memory_kernel_usage": 30,
        "container_memory_mapped_file": 10,
        "container_memory_swap": 5,
        "container_memory_failcnt": 8,
        "container_memory_usage_bytes": 100,
        "container_memory_max_usage_bytes": 110,
        "container_memory_working_set_bytes": 90,
        "container_oom_events_total": 2,
        **{
            f"container_pressure_{name}_{how}_seconds_total": value
            for name in ("cpu", "memory", "io")
            for how, value in (("stalled", 2), ("waiting", 3))
        },
        "container_processes": 4,
        "container_threads": 6,
        "container_threads_max": 1000,
        "container_file_descriptors": 40,
        "container_sockets": 14,
        "container_spec_cpu_period": 100000,
        "container_spec_cpu_quota": 20000,
        "container_spec_cpu_shares": 512,
        "container_spec_memory_limit_bytes": 1 << 20,
        "container_spec_memory_swap_limit_bytes": 0,
        "container_spec_memory_reservation_limit_bytes": 4096,
        "container_start_time_seconds": 7,
    }
    assert metrics["container_cpu_usage_seconds_total"] == {("total",): 9}
    assert metrics["container_fs_usage_bytes"] == {("/dev/x",): 1}
    assert metrics["container_fs_limit_bytes"] == {("/dev/x",): 2}
    assert metrics["container_fs_inodes_total"] == {("/dev/x",): 3}
    assert metrics["container_fs_inodes_free"] == {("/dev/x",): 4}
    assert metrics["container_fs_reads_bytes_total"] == {("250:5",): 4096}
    assert metrics["container_fs_reads_total"] == {("250:5",): 3}
    assert metrics["container_fs_writes_total"] == {("250:5",): 2}
    assert metrics["container_blkio_device_usage_total"] == {
        ("250:5", "250", "5", "read"): 4096,
        ("250:5", "250", "5", "sync"): 1,
    }
    assert metrics["container_hugetlb_usage_bytes"] == {("2MB",): 2 << 20}
    assert metrics["container_hugetlb_max_usage_bytes"] == {("2MB",): 4 << 20}
    assert metrics["container_memory_failures_total"] == {
        ("pgfault", "container"): 70,
        ("pgfault", "hierarchy"): 70,
        ("pgmajfault", "container"): 60,
        ("pgmajfault", "hierarchy"): 60,
    }
    assert metrics["container_ulimits_soft"] == {("max_open_files",): 1024}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_alone(group: str) -> None:
    groups = chosen([group])
    described = {one.name for one in descriptors(groups)}
    found = message(groups)
    told = {one.name for one in [*found.metrics, *found.container_metrics[0].metrics]}
    assert told <= described and "container_last_seen" in told
    assert len(told) > 1
    assert described == {one.name for one in FAMILIES if one.group in ("", group)}


def test_no_group_and_all_groups() -> None:
    assert chosen([]) == frozenset() and chosen(["nothing"]) == frozenset()
    assert chosen(["all", "cpu"]) == frozenset(GROUPS)
    assert [one.name for one in descriptors(chosen([]))] == ["container_last_seen"]
    assert needs(chosen([])) == frozenset()
    assert needs(chosen(["all"])) == {"network", "processes", "disk"}


def test_kept_metrics_have_a_time() -> None:
    found = message(frozenset(GROUPS), timestamp=77)
    assert {one.timestamp for one in [*found.metrics, *found.container_metrics[0].metrics]} == {77}


def test_the_groups_are_those_of_the_configuration() -> None:
    from trilby.cri.config import POD_METRICS

    assert set(POD_METRICS) == {"all", *GROUPS}


@given(st.integers(0, 2**40), st.sampled_from(["{}", "unlimited"]))
def test_open_files(number: int, form: str) -> None:
    soft = form.format(number)
    text = (
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max processes             9                    9                    processes \n"
        f"Max open files            {soft:20} 524288               files     \n"
        "Max locked memory         8388608              8388608              bytes     \n"
    ).encode()
    assert parse_open_files(text) == (number if soft.isdigit() else None)


def test_open_files_of_nothing() -> None:
    assert parse_open_files(b"") is None
    assert parse_open_files(b"Max open files  \n") is None
