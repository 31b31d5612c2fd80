"""Cgroups on this kernel, version 1 and (where mounted) version 2 side by side; needs root."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from trilby.system.cgroup_details import read_details
from trilby.system.cgroup_events import OomWatch, wait_empty
from trilby.system.cgroup_mounts import Hierarchies, detect
from trilby.system.cgroup_stats import processes
from trilby.system.cgroups import Cgroup, membership
from trilby.system.errors import CgroupFailed
from trilby.system.events import IN_DELETE, Inotify


def version_2() -> Hierarchies | None:
    here = detect()
    if here.unified or not here.v2:
        return None
    return Hierarchies("v2", {}, here.v2, here.v2_controllers)


@pytest.fixture(params=["host", "v2"])
def cgroup(request: pytest.FixtureRequest) -> Iterator[Cgroup]:
    hierarchies = detect() if request.param == "host" else version_2()
    if hierarchies is None:
        pytest.skip("this host has one kind of cgroups only")
    top = Cgroup(f"/trilby-test-{os.getpid()}", hierarchies)
    assert not top.exists()
    yield top / "pod"
    if top.exists():
        top.kill_all()
        top.remove()
    assert not top.exists()


def tree() -> subprocess.Popen[bytes]:
    """A process that forks two more into its cgroup when its stdin says so."""
    script = "read x; sleep 1000 & (setsid sleep 1000 &) ; echo up; wait"
    return subprocess.Popen(["sh", "-c", script], stdin=-1, stdout=-1)


def start(cgroup: Cgroup) -> subprocess.Popen[bytes]:
    cgroup.create()
    process = tree()
    cgroup.attach(process.pid)
    assert process.stdin and process.stdout
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"up\n"
    return process


def finish(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.kill()


def test_life_of_a_cgroup(cgroup: Cgroup) -> None:
    process = start(cgroup)
    try:
        assert cgroup.exists()
        assert process.pid in cgroup.pids()
        assert len(cgroup.pids()) == 3
        assert cgroup.parent.pids() == cgroup.pids()
        assert cgroup.parent.pids(recursive=False) == set()
        controller = "" if cgroup.hierarchies.unified else "memory"
        assert membership(process.pid)[controller] == cgroup.path
        with pytest.raises(CgroupFailed, match=f"{process.pid}.* are in it"):
            cgroup.parent.remove()
        assert not cgroup.remove_if_empty()
        cgroup.kill_all()
        assert cgroup.pids() == set()
        cgroup.kill_all()
        cgroup.remove()
        cgroup.remove()
        assert cgroup.parent.remove_if_empty()
    finally:
        finish(process)


def test_frozen_processes_are_killed_as_well(cgroup: Cgroup) -> None:
    process = start(cgroup)
    try:
        cgroup.freeze(True)
        cgroup.kill_all()
        assert process.wait() == -9
    finally:
        finish(process)


def test_usage(cgroup: Cgroup) -> None:
    cgroup.create()
    code = "import sys; x = bytearray(20 << 20); print(flush=True); sys.stdin.read()"
    gate = 'read x; exec "$0" -ISc "$1"'
    process = subprocess.Popen(["sh", "-c", gate, sys.executable, code], stdin=-1, stdout=-1)
    try:
        cgroup.attach(process.pid)
        assert process.stdin and process.stdout
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        stats = cgroup.stats()
        assert stats.cpu and stats.cpu.usage > 1_000_000
        if "memory" in cgroup.hierarchies.controllers:
            assert stats.memory
            assert stats.memory.rss > 20 << 20
            assert stats.memory.usage >= stats.memory.working_set >= stats.memory.rss
            assert processes(cgroup.hierarchies, cgroup.path) == [process.pid]
            cgroup.write("memory", limit_file(cgroup), str(100 << 20))
            limited = cgroup.stats().memory
            assert limited and limited.limit == 100 << 20
            assert 0 < limited.available < 80 << 20
        process.stdin.close()
        process.wait()
    finally:
        finish(process)


def test_details(cgroup: Cgroup) -> None:
    cgroup.create()
    hierarchies = cgroup.hierarchies
    code = "import os, time; end = time.process_time() + 0.3\nwhile time.process_time() < end: os.getppid()"
    gate = 'read x; "$0" -ISc "$1"; echo done; read x'
    process = subprocess.Popen(["sh", "-c", gate, sys.executable, code], stdin=-1, stdout=-1)
    try:
        cgroup.attach(process.pid)
        assert process.stdin and process.stdout
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        found = read_details(hierarchies, cgroup.path)
        cpu = found.stats.cpu
        assert cpu and found.cpu and cpu.usage > 250_000_000
        # Version 1 counts user and system time in ticks of a clock.
        assert abs(found.cpu.user + found.cpu.system - cpu.usage) < 100_000_000
        assert found.cpu.user > 0
        if hierarchies.unified and os.path.exists("/proc/pressure/cpu"):
            lines = cgroup.read("", "cpu.pressure").split()
            total = int(lines[4].removeprefix("total=")) * 1000
            assert cpu.psi and 0 <= cpu.psi.some.total <= total
            assert found.stats.io_psi is not None
        if "memory" in hierarchies.controllers:
            assert found.memory and found.stats.memory
            assert found.memory.max_usage >= found.stats.memory.usage > 0
        if "pids" in hierarchies.controllers:
            assert found.pids and found.pids.current == 1
        sizes = {one.page_size for one in found.hugepages}
        if "hugetlb" in hierarchies.controllers and hierarchies.unified:
            assert sizes == {
                name.split(".")[1]
                for name in os.listdir(hierarchies.v2 + cgroup.path)
                if name.startswith("hugetlb.")
            }
        process.stdin.close()
        process.wait()
    finally:
        finish(process)


def limit_file(cgroup: Cgroup) -> str:
    return "memory.max" if cgroup.hierarchies.unified else "memory.limit_in_bytes"


async def test_a_memory_kill_is_told(cgroup: Cgroup) -> None:
    if "memory" not in cgroup.hierarchies.controllers:
        pytest.skip("no memory controller in this hierarchy")
    cgroup.create()
    cgroup.write("memory", limit_file(cgroup), str(30 << 20))
    code = "read x; exec \"$0\" -ISc 'x = bytearray(200 << 20)'"
    process = subprocess.Popen(["sh", "-c", code, sys.executable], stdin=-1)  # noqa: ASYNC220
    try:
        cgroup.attach(process.pid)
        with OomWatch(cgroup) as watch:
            assert process.stdin
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert await asyncio.wait_for(watch.wait(), 30) >= 1
            assert process.wait() == -9
            assert watch.count() >= 1
            waiting = asyncio.create_task(watch.wait())
            await asyncio.sleep(0)
            cgroup.remove()
            # One kill may be told twice; the removal is told in the end.
            while await asyncio.wait_for(waiting, 10):
                waiting = asyncio.create_task(watch.wait())
            assert watch.count() >= 1
    finally:
        finish(process)


async def test_removal_is_told_by_the_parent(cgroup: Cgroup) -> None:
    """What OomWatch relies on where it can have no eventfd."""
    cgroup.create()
    controller = "" if cgroup.hierarchies.unified else "memory"
    folder = cgroup.hierarchies.directory(controller, cgroup.path)
    with Inotify([os.path.dirname(folder)], IN_DELETE) as events:
        cgroup.remove()
        assert (await asyncio.wait_for(anext(events), 10)).name == "pod"


async def test_emptying_is_told_by_version_2(cgroup: Cgroup) -> None:
    process = start(cgroup)
    try:
        if not cgroup.hierarchies.unified:
            with pytest.raises(CgroupFailed, match="version 1"):
                await wait_empty(cgroup)
            return
        waiting = asyncio.create_task(wait_empty(cgroup))
        await asyncio.sleep(0)
        assert not waiting.done()
        cgroup.kill_all()
        await asyncio.wait_for(waiting, 10)
        cgroup.remove()
        await wait_empty(cgroup)
    finally:
        finish(process)


def test_errors_say_which_cgroup(cgroup: Cgroup) -> None:
    cgroup.create()
    with pytest.raises(CgroupFailed, match=f"moving process 99999999 to cgroup {cgroup.path}"):
        cgroup.attach(99_999_999)
    controller = "" if cgroup.hierarchies.unified else "memory"
    with pytest.raises(CgroupFailed, match="reading .*/pod/no.such: No such file"):
        cgroup.read(controller, "no.such")
    with pytest.raises(CgroupFailed, match="writing 'x' to "):
        cgroup.write(controller, "cgroup.procs", "x")
    with pytest.raises(CgroupFailed, match="it does not exist"):
        (cgroup / "missing").stats()
