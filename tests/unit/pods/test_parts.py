"""Small pieces of the engine that need no container: names, command lines, merges."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from trilby.oci.runtime import LinuxResources
from trilby.pods.config import CgroupManager, EngineConfig, RuntimeHandler
from trilby.pods.container_bundle import make_directory_in_root
from trilby.pods.container_rootfs_store import repository_digest, tree_usage
from trilby.pods.container_stop import signal_number
from trilby.pods.container_update import merge, runtime_resources
from trilby.pods.engine_tasks import finish
from trilby.pods.errors import CgroupParentInvalid, MonitorFailed
from trilby.pods.events import Broadcaster, EventType
from trilby.pods.exec_output import Collector
from trilby.pods.model_common import Resources
from trilby.pods.monitor import MonitorRequest, _tidy, monitor_argv, read_pid, reopen_log
from trilby.pods.runtime import Runtime
from trilby.pods.sandbox_cgroup import cgroup_path, container_cgroup, sandbox_cgroup
from trilby.pods.sandbox_files import write_files, write_hosts
from trilby.pods.state import Layout
from trilby.pods.stats_network import parse_net_dev
from trilby.storage.records import Image

CGROUPFS = EngineConfig(cgroup_manager=CgroupManager.CGROUPFS)
SYSTEMD = EngineConfig(cgroup_manager=CgroupManager.SYSTEMD, cgroup_parent="trilby.slice")


def test_cgroups_with_cgroupfs() -> None:
    assert sandbox_cgroup(CGROUPFS, "", "abc") == ("/trilby/abc", True)
    asked = sandbox_cgroup(CGROUPFS, "kubepods/pod1/", "abc")
    assert asked == ("/kubepods/pod1", False)
    assert cgroup_path(container_cgroup(CGROUPFS, asked[0], "c")) == "/kubepods/pod1/c"
    with pytest.raises(CgroupParentInvalid, match=r"a\.slice"):
        sandbox_cgroup(CGROUPFS, "a.slice", "abc")


def test_cgroups_with_systemd() -> None:
    assert sandbox_cgroup(SYSTEMD, "", "abc") == ("trilby-abc.slice", True)
    name, own = sandbox_cgroup(SYSTEMD, "/kubepods.slice/kubepods-podx.slice", "abc")
    assert (name, own) == ("kubepods-podx.slice", False)
    assert cgroup_path(name) == "/kubepods.slice/kubepods-podx.slice"
    scope = container_cgroup(SYSTEMD, name, "c")
    assert scope == "kubepods-podx.slice:trilby:c"
    assert cgroup_path(scope) == "/kubepods.slice/kubepods-podx.slice/trilby-c.scope"
    with pytest.raises(CgroupParentInvalid):
        sandbox_cgroup(SYSTEMD, "/kubepods", "abc")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", signal.SIGTERM), ("hup", signal.SIGHUP), ("9", 9), ("nonsense", signal.SIGTERM),
        ("SIGRTMIN", signal.SIGRTMIN), ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-1", signal.SIGRTMAX - 1), ("", signal.SIGTERM), ("RTMIN+x", signal.SIGTERM),
    ],
)  # fmt: skip
def test_signal_names(name: str, number: int) -> None:
    assert signal_number(name) == number


def test_the_monitors_command_line() -> None:
    runtime = Runtime(
        RuntimeHandler(name="x", path="/bin/true", monitor_path="/m"), "/r", systemd_cgroup=True
    )
    request = MonitorRequest(
        container_id="c", name="n", bundle="/b", persist_dir="/p", exits="/e", log="k8s-file:/l",
        stdin=True, leave_stdin_open=True, log_size_max=10000,
    )  # fmt: skip
    argv = monitor_argv("conmon", runtime, request)
    assert argv[0] == "/m"
    assert {"--systemd-cgroup", "--stdin", "--leave-stdin-open", "--runtime-arg"} < set(argv)
    assert argv[argv.index("--log-size-max") + 1] == "10000"
    assert "--terminal" not in argv and "--no-sync-log" not in argv
    assert runtime.create_command("c", "/a b") == (
        "/bin/true --root /r --systemd-cgroup create --bundle '/a b' c"
    )


def test_what_the_runtime_said_is_readable() -> None:
    line = 'time="2026-11-24T03:48:11Z" level=error msg="runc create failed: exec: \\"/x\\": no"'
    assert _tidy(f"{line}\n\nplain\n") == 'runc create failed: exec: "/x": no; plain'


async def test_a_monitor_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    log = str(tmp_path / "0.log")
    with pytest.raises(MonitorFailed, match="conmon is gone"):
        await reopen_log(str(tmp_path), log)
    os.mkfifo(tmp_path / "ctl")
    with pytest.raises(MonitorFailed, match="conmon is gone"):
        await reopen_log(str(tmp_path), log)
    reader = os.open(tmp_path / "ctl", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(MonitorFailed, match="did not do it"):
            await reopen_log(str(tmp_path), log, timeout=0.01)
        assert os.read(reader, 100) == b"2 0 0\n"
    finally:
        os.close(reader)
    assert read_pid(str(tmp_path / "none")) == 0


@pytest.mark.skipif(not os.path.ismount("/sys/fs/cgroup"), reason="this root has no cgroups")
def test_only_what_is_set_is_updated() -> None:
    assert runtime_resources(Resources()) == LinuxResources()
    limits = runtime_resources(Resources(memory_limit=100, cpu_quota=-1))
    assert limits.memory and (limits.memory.limit, limits.memory.swap) == (100, 100)
    assert limits.cpu and limits.cpu.quota == -1 and limits.cpu.shares is None
    old = Resources(cpu_shares=2, memory_limit=5)
    assert merge(old, Resources(cpu_shares=3)) == Resources(cpu_shares=3, memory_limit=5)


def test_network_counters() -> None:
    text = (
        "Inter-|   Receive\n face |bytes\n"
        "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        "  net1: 5 0 0 0 0 0 0 0 6 0 0 0 0 0 0 0\n"
        "  eth0: 10 2 3 0 0 0 0 0 20 4 5 0 0 0 0 0\n"
    )
    first, second = parse_net_dev(text)
    assert (first.name, first.rx_bytes, first.rx_errors, first.tx_bytes, first.tx_errors) == (
        "eth0", 10, 3, 20, 5,
    )  # fmt: skip
    assert second.name == "net1"


def test_repository_digests() -> None:
    digest = "sha256:" + "a" * 64
    for name in ("reg.test:5000/a/b:tag", "reg.test:5000/a/b", f"reg.test:5000/a/b@{digest}"):
        image = Image(id="i", digest=digest, names=(name,))
        assert repository_digest(image) == f"reg.test:5000/a/b@{digest}"
    assert repository_digest(Image(id="i", digest=digest)) == ""


def test_files_of_the_pod_keep_their_inodes(tmp_path: Path) -> None:
    write_files(str(tmp_path), "box", None, host_network=False)
    inode = (tmp_path / "hosts").stat().st_ino
    write_hosts(str(tmp_path), "box", ("10.0.0.9",))
    assert (tmp_path / "hosts").stat().st_ino == inode
    assert "10.0.0.9\tbox\n" in (tmp_path / "hosts").read_text()
    assert (tmp_path / "hostname").read_text() == "box\n"


def test_tree_usage(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 5000)
    (tmp_path / "loop").symlink_to(tmp_path)
    size, inodes = tree_usage(str(tmp_path))
    assert size >= 5000 and inodes == 3
    assert tree_usage(str(tmp_path / "none")) == (0, 0)


async def test_a_collector_keeps_to_its_limit() -> None:
    with Collector(10) as collector:
        os.write(collector.write_end, b"12345678")
        await asyncio.sleep(0)
        os.write(collector.write_end, b"12345678")
        collector.close_write_end()
        assert collector.take() == b"1234567812" and collector.truncated


async def test_work_is_finished_before_a_cancellation_goes_on() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    done = []

    async def work() -> str:
        begun.set()
        await may_end.wait()
        done.append("work")
        return "result"

    caller = asyncio.create_task(finish(work()))
    await begun.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == ["work"]
    may_end.set()
    assert await finish(work()) == "result"

    async def fails() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        await finish(fails())


def test_directories_of_volumes_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to("/elsewhere")
    (tmp_path / "root" / "elsewhere").mkdir()
    make_directory_in_root(str(tmp_path / "root"), "/link/deep/er")
    make_directory_in_root(str(tmp_path / "root"), "/link/deep/er")
    assert (tmp_path / "root" / "elsewhere" / "deep" / "er").is_dir()


async def test_events_of_a_quick_container_come_in_order(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "a"), str(tmp_path / "b"))
    layout.make()
    sandbox, container = "a" * 64, "b" * 64
    os.makedirs(layout.container_dir(sandbox, container))
    events = Broadcaster(layout)
    stream = events.subscribe()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    with events.starting(container, sandbox):
        Path(layout.exit_file(container)).write_text("0")
        await events.wait_exit(container, (0, 0), 5)
        await asyncio.sleep(0.05)
    kinds = [(await first).type, (await anext(stream)).type]
    assert kinds == [EventType.STARTED, EventType.STOPPED]
    await stream.aclose()
    await events.close()
