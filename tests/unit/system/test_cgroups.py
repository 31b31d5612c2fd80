"""Cgroup layouts, paths, slices and statistics from recorded files of both versions."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from trilby.system.cgroup_events import OomWatch
from trilby.system.cgroup_mounts import Hierarchies, detect_from, parse_membership
from trilby.system.cgroup_slices import expand_slice, slice_path
from trilby.system.cgroups import Cgroup
from trilby.system.errors import CgroupFailed
from trilby.system.mount_table import MountEntry, parse_mount


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


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


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
