"""Statistics of cgroups from recorded and from random files of both versions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.system.cgroup_details import (
    DeviceIo,
    HugepageUsage,
    MemoryDetails,
    PidStats,
    parse_io_v1,
    parse_io_v2,
    read_details,
)
from trilby.system.cgroup_mounts import Hierarchies
from trilby.system.cgroup_stats import (
    CpuStats,
    MemoryStats,
    Pressure,
    field,
    processes,
    read_stats,
)
from trilby.system.errors import CgroupFailed

PSI = (
    "some avg10=1.50 avg60=0.00 avg300=0.25 total=12\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"
)
COUNTS = st.integers(0, 2**63)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def version_2(top: Path) -> Hierarchies:
    return Hierarchies("v2", {}, str(top), frozenset({"memory"}))


def version_1(top: Path, *names: str) -> Hierarchies:
    return Hierarchies("v1", {name: str(top / name) for name in names}, "", frozenset())


def test_version_2(tmp_path: Path) -> None:
    write(
        tmp_path / "p",
        cpu__stat="usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n",
        cpu__pressure=PSI,
        memory__current="10000\n",
        memory__stat="anon 1000\nfile 5000\nkernel 77\nfile_mapped 40\ninactive_file 3000\n"
        "active_file 2000\npgfault 7\npgmajfault 2\n",
        memory__max="max\n",
        memory__peak="12000\n",
        memory__swap__current="44\n",
        memory__swap__max="0\n",
        memory__events="low 0\nmax 6\noom 2\noom_kill 1\noom_group_kill 0\n",
        pids__current="3\n",
        pids__max="100\n",
        io__stat="8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n",
        hugetlb__2MB__current="2097152\n",
        hugetlb__2MB__rsvd__current="0\n",
    )
    found = read_details(version_2(tmp_path), "/p")
    stats = found.stats
    assert stats.time > 0 and stats.io_psi is None
    assert stats.cpu and stats.cpu.usage == 5000
    assert stats.cpu.psi and stats.cpu.psi.some == Pressure(1.5, 0.0, 0.25, 12000)
    assert stats.memory == MemoryStats(
        usage=10000,
        working_set=7000,
        rss=1000,
        page_faults=7,
        major_page_faults=2,
        swap_usage=44,
        swap_limit=0,
        cache=5000,
        mapped_file=40,
    )
    assert stats.memory.available == 0
    cpu = found.cpu
    assert cpu and (cpu.user, cpu.system) == (3000, 2000)
    assert (cpu.periods, cpu.throttled_periods, cpu.throttled_time) == (4, 1, 9000)
    assert found.memory == MemoryDetails(kernel=77, max_usage=12000, limit_hits=6, oom_kills=1)
    assert found.pids == PidStats(3, 100)
    assert found.io_bytes == (DeviceIo(8, 0, "read", 4096), DeviceIo(8, 0, "write", 512))
    assert found.io_operations == (DeviceIo(8, 0, "read", 2), DeviceIo(8, 0, "write", 1))
    assert found.hugepages == (HugepageUsage("2MB", 2097152, 2097152),)


def test_version_2_without_controllers(tmp_path: Path) -> None:
    write(tmp_path / "p", cpu__stat="usage_usec 5\n")
    found = read_details(version_2(tmp_path), "/p")
    assert found.stats.cpu == CpuStats(5000)
    assert found.stats.memory is None and found.memory is None and found.pids is None
    assert not found.io_bytes and not found.hugepages


def test_version_1(tmp_path: Path) -> None:
    write(tmp_path / "cpuacct" / "p", cpuacct__usage="12345\n", cpuacct__stat="user 2\nsystem 1\n")
    write(tmp_path / "cpu" / "p", cpu__stat="nr_periods 4\nnr_throttled 1\nthrottled_time 9\n")
    write(
        tmp_path / "memory" / "p",
        memory__usage_in_bytes="10000\n",
        memory__max_usage_in_bytes="11000\n",
        memory__failcnt="8\n",
        memory__kmem__usage_in_bytes="300\n",
        memory__stat="rss 1\nhierarchical_memory_limit 20000\nhierarchical_memsw_limit 25000\n"
        "total_cache 70\ntotal_rss 900\ntotal_mapped_file 30\ntotal_inactive_file 4000\n"
        "total_pgfault 7\ntotal_pgmajfault 2\ntotal_swap 5\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    )
    write(
        tmp_path / "blkio" / "p",
        blkio__bfq__io_service_bytes_recursive="Total 0\n",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n",
        blkio__throttle__io_serviced_recursive="8:0 Read 1\n8:0 Total 1\nTotal 1\n",
    )
    write(
        tmp_path / "hugetlb" / "p",
        hugetlb__2MB__usage_in_bytes="0\n",
        hugetlb__2MB__max_usage_in_bytes="4194304\n",
        hugetlb__2MB__rsvd__usage_in_bytes="0\n",
    )
    hierarchies = version_1(tmp_path, "cpu", "cpuacct", "memory", "blkio", "hugetlb")
    found = read_details(hierarchies, "/p")
    stats = found.stats
    assert stats.cpu == CpuStats(12345)
    assert found.cpu and (found.cpu.user, found.cpu.throttled_time) == (20_000_000, 9)
    assert stats.memory == MemoryStats(
        usage=10000,
        working_set=6000,
        rss=900,
        limit=20000,
        page_faults=7,
        major_page_faults=2,
        swap_usage=5,
        swap_limit=5000,
        cache=70,
        mapped_file=30,
    )
    assert stats.memory.available == 14000
    assert found.memory == MemoryDetails(kernel=300, max_usage=11000, limit_hits=8, oom_kills=3)
    assert found.pids is None
    assert found.io_bytes == (DeviceIo(8, 0, "read", 4096),)
    assert found.io_operations == (DeviceIo(8, 0, "read", 1),)
    assert found.hugepages == (HugepageUsage("2MB", 0, 4194304),)


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("", None),
        ("hierarchical_memsw_limit 9223372036854771712\n", None),
        ("hierarchical_memsw_limit 20000\n", 0),
    ],
)
def test_swap_limit_of_version_1(tmp_path: Path, line: str, limit: int | None) -> None:
    write(
        tmp_path / "memory" / "p",
        memory__usage_in_bytes="1\n",
        memory__stat=f"hierarchical_memory_limit 20000\n{line}",
    )
    memory = read_stats(version_1(tmp_path, "memory"), "/p").memory
    assert memory and memory.swap_limit == limit


def test_a_missing_cgroup(tmp_path: Path) -> None:
    for hierarchies in (version_2(tmp_path), version_1(tmp_path, "memory")):
        for function in (read_stats, read_details):
            with pytest.raises(CgroupFailed, match="/p: it does not exist"):
                function(hierarchies, "/p")
        assert processes(hierarchies, "/p") is None


def test_processes(tmp_path: Path) -> None:
    many = "".join(f"{number}\n" for number in range(100000, 120000))
    write(tmp_path / "p", cgroup__procs="1\n2\n")
    write(tmp_path / "p" / "a", cgroup__procs=many)
    write(tmp_path / "p" / "a" / "b", cgroup__procs="")
    (tmp_path / "p" / "without").mkdir()
    assert processes(version_2(tmp_path), "/p") == [1, 2, *range(100000, 120000)]
    assert processes(Hierarchies("v1", {"pids": str(tmp_path)}, "", frozenset()), "/p/a/b") == []


def test_fields_are_whole_words() -> None:
    text = b"total_inactive_file 5\ninactive_file 7\nlast 9"
    assert field(text, b"inactive_file") == 7
    assert field(text, b"total_inactive_file") == 5
    assert field(text, b"last") == 9
    assert field(text, b"file") == 0
    assert field(b"", b"x") == 0


@given(st.dictionaries(NAMES, COUNTS), st.booleans())
def test_fields_of_any_table(table: dict[str, int], ended: bool) -> None:
    text = "\n".join(f"{name} {value}" for name, value in table.items()).encode()
    text += b"\n" if ended else b""
    assert {name: field(text, name.encode()) for name in table} == table


DEVICES = st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1))


@given(
    st.dictionaries(DEVICES, st.dictionaries(st.sampled_from(["Read", "Write", "Sync"]), COUNTS))
)
def test_io_of_version_1(devices: dict[tuple[int, int], dict[str, int]]) -> None:
    lines = []
    for (major, minor), counts in devices.items():
        lines += [f"{major}:{minor} {name} {count}" for name, count in counts.items()]
        lines.append(f"{major}:{minor} Total {sum(counts.values())}")
    lines.append("Total 7")
    found = parse_io_v1("\n".join(lines).encode())
    assert found == tuple(
        DeviceIo(major, minor, name.lower(), count)
        for (major, minor), counts in devices.items()
        for name, count in counts.items()
    )


@given(
    st.dictionaries(
        DEVICES, st.dictionaries(st.sampled_from(["rbytes", "wbytes", "rios", "dios"]), COUNTS)
    )
)
def test_io_of_version_2(devices: dict[tuple[int, int], dict[str, int]]) -> None:
    text = "".join(
        f"{major}:{minor} {' '.join(f'{name}={count}' for name, count in counts.items())}\n"
        for (major, minor), counts in devices.items()
    ).encode()
    in_bytes = parse_io_v2(text + b"(unknown) rbytes=1\n", in_bytes=True)
    assert len(in_bytes) == sum(
        name in ("rbytes", "wbytes") for counts in devices.values() for name in counts
    )
    for one in in_bytes:
        assert one.count == devices[one.major, one.minor][f"{one.operation[0]}bytes"]
    for one in parse_io_v2(text, in_bytes=False):
        assert one.operation == "read"
        assert one.count == devices[one.major, one.minor]["rios"]


@given(st.tuples(*[st.floats(0, 100)] * 3), st.tuples(*[st.floats(0, 100)] * 3), COUNTS, COUNTS)
def test_pressure(
    some: tuple[float, float, float], full: tuple[float, float, float], first: int, second: int
) -> None:
    def line(name: str, averages: tuple[float, float, float], total: int) -> str:
        ten, minute, five = averages
        return f"{name} avg10={ten:.2f} avg60={minute:.2f} avg300={five:.2f} total={total}\n"

    # Older kernels have no "full" line for the processor.
    for text, stalled in (
        (line("some", some, first) + line("full", full, second), second),
        (line("some", some, first), 0),
    ):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as top:
            write(Path(top) / "p", cpu__stat="usage_usec 1\n", cpu__pressure=text)
            cpu = read_stats(version_2(Path(top)), "/p").cpu
        assert cpu and cpu.psi
        assert (cpu.psi.some.total, cpu.psi.full.total) == (first * 1000, stalled * 1000)
        assert abs(cpu.psi.some.avg10 - some[0]) < 0.01
