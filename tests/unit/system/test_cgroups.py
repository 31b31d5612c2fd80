"""Cgroup layouts, paths, slices and statistics from recorded files of both versions."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from trilby.system.cgroup_events import OomWatch
from trilby.system.cgroup_mounts import Hierarchies, detect_from, parse_membership
from trilby.system.cgroup_slices import expand_slice, slice_path
from trilby.system.cgroup_stats import MemoryStats, Pressure, _field, read_stats
from trilby.system.cgroups import Cgroup
from trilby.system.errors import CgroupFailed
from trilby.system.mount_table import MountEntry, parse_mount

MEMORY_STAT_V2 = (
    b"anon 1000\nfile 5000\ninactive_file 3000\nactive_file 2000\npgfault 7\npgmajfault 2\n"
)


def mounts(*lines: str) -> list[MountEntry]:
    return [
        parse_mount(f"{number} 1 0:{number} / {line}")
        for number, line in enumerate(lines, start=30)
    ]


V2 = "/sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate"
HYBRID = (
    "/sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
    "/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    "/sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb",
    "/sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
    "/sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
)
HYBRID_MEMBERSHIP = "4:cpu,cpuacct:/a\n3:memory:/b\n1:name=systemd:/\n0::/\n"


def test_version_2() -> None:
    found = detect_from("0::/user.slice\n", mounts(V2))
    assert (found.mode, found.v2, found.unified) == ("v2", "/sys/fs/cgroup", True)
    assert found.directories("/a/b") == ["/sys/fs/cgroup/a/b"]


def test_version_2_with_a_named_hierarchy_is_version_2() -> None:
    found = detect_from("1:name=systemd:/\n0::/\n", mounts(V2, HYBRID[3]))
    assert (found.mode, found.v1) == ("v2", {})


def test_hybrid_goes_by_membership_not_by_directories() -> None:
    found = detect_from(HYBRID_MEMBERSHIP, mounts(*HYBRID))
    assert (found.mode, found.unified) == ("hybrid", False)
    assert found.controllers == {"cpu", "cpuacct", "memory"}
    assert found.directories("/p") == [
        "/sys/fs/cgroup/cpu,cpuacct/p",
        "/sys/fs/cgroup/memory/p",
        "/sys/fs/cgroup/systemd/p",
    ]
    assert found.directory("cpuacct", "/p") == "/sys/fs/cgroup/cpu,cpuacct/p"
    with pytest.raises(CgroupFailed, match="no hugetlb controller"):
        found.directory("hugetlb", "/p")


def test_version_1_and_nothing() -> None:
    assert detect_from("3:memory:/\n", mounts(*HYBRID)).mode == "v1"
    with pytest.raises(CgroupFailed, match="no cgroup file system"):
        detect_from("", [])


def test_membership() -> None:
    text = "12:cpu,cpuacct:/x:y\n0::/z\n"
    assert parse_membership(text) == {"cpu": "/x:y", "cpuacct": "/x:y", "": "/z"}


@pytest.mark.parametrize("path", ["", "relative", "/a/../b", "/a/..", "../a", "/a\0b"])
def test_paths_are_absolute(path: str) -> None:
    with pytest.raises(CgroupFailed, match="must be absolute"):
        Cgroup(path, Hierarchies("v2", {}, "/nowhere", frozenset()))


def test_path_arithmetic() -> None:
    root = Cgroup("/", Hierarchies("v2", {}, "/nowhere", frozenset()))
    pod = root / "trilby" / "pod1"
    assert (pod.path, pod.parent.path, root.parent.path) == ("/trilby/pod1", "/trilby", "/")
    assert Cgroup("/a/b/", root.hierarchies).path == "/a/b"
    assert not pod.exists()
    with pytest.raises(CgroupFailed, match="not ours"):
        root.remove()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("-.slice", "/"),
        ("a.slice", "/a.slice"),
        (
            "kubepods-burstable-pod1_2.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
        ),
    ],
)
def test_slices(name: str, path: str) -> None:
    assert expand_slice(name) == path


@pytest.mark.parametrize(
    "name", ["", ".slice", "a", "a.scope", "a--b.slice", "-a.slice", "a/b.slice"]
)
def test_what_is_no_slice(name: str) -> None:
    with pytest.raises(CgroupFailed, match="not the name of a systemd slice"):
        expand_slice(name)


def test_slice_path() -> None:
    assert slice_path("a-b.slice", "x.scope") == "/a.slice/a-b.slice/x.scope"
    assert slice_path("/a.slice/a-b.slice/", "x.scope") == "/a.slice/a-b.slice/x.scope"
    assert slice_path("-.slice", "x.service") == "/x.service"


def test_fields_are_whole_words() -> None:
    text = b"total_inactive_file 5\ninactive_file 7\nlast 9"
    assert _field(text, b"inactive_file") == 7
    assert _field(text, b"total_inactive_file") == 5
    assert _field(text, b"last") == 9
    assert _field(text, b"file") == 0
    assert _field(b"", b"x") == 0


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_statistics_of_version_2(tmp_path: Path) -> None:
    psi = "some avg10=1.50 avg60=0.00 avg300=0.25 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"
    write(
        tmp_path / "p",
        cpu__stat="usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n",
        cpu__pressure=psi,
        memory__current="10000\n",
        memory__stat=MEMORY_STAT_V2.decode(),
        memory__max="max\n",
        memory__swap__current="44\n",
        memory__events="low 0\noom 2\noom_kill 1\noom_group_kill 0\n",
        pids__current="3\n",
        pids__max="100\n",
    )
    stats = read_stats(Hierarchies("v2", {}, str(tmp_path), frozenset({"memory"})), "/p")
    assert stats.time > 0
    assert stats.cpu and stats.memory and stats.pids and stats.cpu.psi
    assert (stats.cpu.usage, stats.cpu.user, stats.cpu.system) == (5000, 3000, 2000)
    assert (stats.cpu.periods, stats.cpu.throttled_periods, stats.cpu.throttled_time) == (
        4,
        1,
        9000,
    )
    assert stats.cpu.psi.some == Pressure(1.5, 0.0, 0.25, 12000)
    assert stats.memory == MemoryStats(
        usage=10000,
        working_set=7000,
        rss=1000,
        page_faults=7,
        major_page_faults=2,
        swap_usage=44,
        oom_kills=1,
    )
    assert stats.memory.available == 0
    assert (stats.pids.current, stats.pids.limit) == (3, 100)
    assert stats.io_psi is None


def test_statistics_of_version_1(tmp_path: Path) -> None:
    write(tmp_path / "cpuacct" / "p", cpuacct__usage="12345\n", cpuacct__stat="user 2\nsystem 1\n")
    write(tmp_path / "cpu" / "p", cpu__stat="nr_periods 4\nnr_throttled 1\nthrottled_time 9\n")
    write(
        tmp_path / "memory" / "p",
        memory__usage_in_bytes="10000\n",
        memory__stat="rss 1\nhierarchical_memory_limit 20000\nhierarchical_memsw_limit 25000\n"
        "total_rss 900\ntotal_inactive_file 4000\ntotal_pgfault 7\ntotal_pgmajfault 2\ntotal_swap 5\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    )
    v1 = {name: str(tmp_path / name) for name in ("cpu", "cpuacct", "memory")}
    stats = read_stats(Hierarchies("v1", v1, "", frozenset()), "/p")
    assert stats.cpu and stats.memory
    assert (stats.cpu.usage, stats.cpu.user, stats.cpu.throttled_time) == (12345, 20_000_000, 9)
    assert (stats.memory.working_set, stats.memory.limit, stats.memory.available) == (
        6000,
        20000,
        14000,
    )
    assert (stats.memory.rss, stats.memory.swap_limit, stats.memory.oom_kills) == (900, 5000, 3)
    assert stats.pids is None


def test_statistics_of_a_missing_cgroup(tmp_path: Path) -> None:
    for hierarchies in (
        Hierarchies("v2", {}, str(tmp_path), frozenset()),
        Hierarchies("v1", {"memory": str(tmp_path)}, "", frozenset()),
    ):
        with pytest.raises(CgroupFailed, match="/p: it does not exist"):
            read_stats(hierarchies, "/p")


def test_making_a_version_2_cgroup_enables_what_is_offered(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        write(folder, cgroup__controllers="cpu memory\n", cgroup__subtree_control="memory\n")
    Cgroup("/a/b", Hierarchies("v2", {}, str(tmp_path), frozenset({"cpu", "memory"}))).create()
    assert (tmp_path / "a" / "cgroup.subtree_control").read_text().startswith("+cpu")


async def test_memory_kills_of_version_2(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    write(folder, memory__events="low 0\noom_kill 2\n")
    cgroup = Cgroup("/p", Hierarchies("v2", {}, str(tmp_path), frozenset({"memory"})))
    with OomWatch(cgroup) as watch:
        waiting = asyncio.create_task(watch.wait())
        await asyncio.sleep(0)
        write(folder, memory__events="low 1\noom_kill 2\n")
        await asyncio.sleep(0.01)
        assert not waiting.done()
        write(folder, memory__events="low 1\noom_kill 4\n")
        assert await asyncio.wait_for(waiting, 10) == 2
        waiting = asyncio.create_task(watch.wait())
        await asyncio.sleep(0)
        shutil.rmtree(folder)
        assert await asyncio.wait_for(waiting, 10) == 0
        assert watch.count() == 4
    with pytest.raises(CgroupFailed, match="watching cgroup /p"):
        OomWatch(cgroup)
