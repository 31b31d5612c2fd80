"""Limits put over limits, and what a status can show of them."""

from __future__ import annotations

import os

import pytest

from trilby.oci.runtime import Cpu, DeviceRule, HugepageLimit, LinuxResources, Memory, Pids
from trilby.pods.container_update import merge, overlay, recorded, runtime_resources
from trilby.pods.model_common import Resources

OLD = LinuxResources(
    devices=(DeviceRule(False),),
    memory=Memory(limit=100, swap=100),
    cpu=Cpu(shares=10, cpus="0-1"),
    pids=Pids(5),
    hugepage_limits=(HugepageLimit("2MB", 1),),
    unified={"a": "1", "b": "2"},
)


def test_what_is_set_wins_and_the_rest_stays() -> None:
    new = LinuxResources(
        memory=Memory(limit=0, reservation=7),
        cpu=Cpu(shares=20, quota=-1),
        hugepage_limits=(HugepageLimit("2MB", 2), HugepageLimit("1GB", 3)),
        unified={"b": "3"},
    )
    assert overlay(OLD, new) == LinuxResources(
        devices=(DeviceRule(False),),
        memory=Memory(limit=0, swap=100, reservation=7),
        cpu=Cpu(shares=20, quota=-1, cpus="0-1"),
        pids=Pids(5),
        hugepage_limits=(HugepageLimit("2MB", 2), HugepageLimit("1GB", 3)),
        unified={"a": "1", "b": "3"},
    )
    assert overlay(OLD, LinuxResources()) == OLD
    assert overlay(LinuxResources(), OLD).memory == OLD.memory


@pytest.mark.skipif(not os.path.ismount("/sys/fs/cgroup"), reason="this root has no cgroups")
def test_what_a_status_shows_is_what_was_set() -> None:
    shown = recorded(OLD)
    assert (shown.memory_limit, shown.memory_swap_limit) == (100, 100)
    assert (shown.cpu_shares, shown.cpuset_cpus, shown.cpu_quota) == (10, "0-1", 0)
    assert shown.unified == {"a": "1", "b": "2"}
    assert [(item.page_size, item.limit) for item in shown.hugepage_limits] == [("2MB", 1)]
    assert recorded(LinuxResources()) == Resources()
    assert runtime_resources(shown).cpu == OLD.cpu
    assert merge(Resources(cpu_shares=1, cpu_quota=2), shown).cpu_quota == 2
