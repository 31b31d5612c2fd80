"""Namespaces on this kernel: pinned, configured, entered, removed; needs root."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trilby.system.errors import NamespaceFailed
from trilby.system.mounts import is_mountpoint, list_mounts
from trilby.system.namespaces import (
    create_pinned,
    in_netns,
    is_pinned,
    namespace_id,
    open_namespace,
    pin,
    same_namespace,
    unpin,
    unpin_all,
    write_sysctl,
)
from trilby.system.process import run
from trilby.system.process_child import own_children
from trilby.system.userns import IdRange, create_pinned_user, open_user_namespace

RANGES = [IdRange(0, 200_000, 1000), IdRange(1000, 300_000, 64_536)]
ALL = {"net", "ipc", "uts"}


def own_namespaces() -> dict[str, tuple[int, int]]:
    return {kind: namespace_id(f"/proc/thread-self/ns/{kind}") for kind in (*ALL, "user", "mnt")}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before = own_namespaces()
    threads = threading.active_count()
    children = set(own_children)
    yield tmp_path / "ns"
    assert own_namespaces() == before
    assert threading.active_count() == threads
    unpin_all(tmp_path / "ns")
    assert list_mounts(tmp_path) == []
    assert set(own_children) <= children


def inside(pins: dict[str, str], script: str) -> str:
    enter = [f"--{'user' if kind == 'user' else kind}={path}" for kind, path in pins.items()]
    return run(["nsenter", *enter, "sh", "-ec", script]).text


def test_a_pod_s_namespaces(folder: Path) -> None:
    with open("/proc/sys/kernel/shm_rmid_forced") as file:
        host_value = file.read()
    pins = create_pinned(
        ALL,
        folder,
        hostname="pod-one",
        sysctls={"net.ipv4.ip_unprivileged_port_start": "80", "kernel/shm_rmid_forced": "1"},
    )
    assert pins == {kind: str(folder / kind) for kind in sorted(ALL)}
    script = (
        "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
        " /proc/sys/kernel/shm_rmid_forced; ip -o link show lo | grep -o ',UP'"
    )
    assert inside(pins, script).split() == ["pod-one", "80", "1", ",UP"]
    with open("/proc/sys/kernel/shm_rmid_forced") as file:
        assert file.read() == host_value
    assert socket.gethostname() != "pod-one"
    for kind, path in pins.items():
        assert is_pinned(path, kind)
        assert not same_namespace(path, f"/proc/self/ns/{kind}")
        unpin(path)
        unpin(path)
        assert not os.path.exists(path)


def test_failures_leave_no_pin(folder: Path) -> None:
    with pytest.raises(NamespaceFailed, match=r"sysctl net\.no\.such=1: No such file"):
        create_pinned(ALL, folder, sysctls={"net.no.such": "1"})
    assert os.listdir(folder) == []
    # A pin in the way of the second of the three.
    pins = create_pinned({"net"}, folder)
    before = namespace_id(pins["net"])
    with pytest.raises(NamespaceFailed, match="pinned there already"):
        create_pinned(ALL, folder)
    assert os.listdir(folder) == ["net"]
    assert namespace_id(pins["net"]) == before
    with pytest.raises(NamespaceFailed, match="only net, ipc and uts"):
        create_pinned({"pid"}, folder)


def test_what_a_reboot_leaves_of_a_pin_is_taken_over(folder: Path) -> None:
    folder.mkdir()
    (folder / "uts").touch()
    assert not is_pinned(folder / "uts")
    with pytest.raises(NamespaceFailed, match="ordinary file"):
        open_namespace(folder / "uts")
    create_pinned({"uts"}, folder)
    assert is_pinned(folder / "uts", "uts")
    with pytest.raises(NamespaceFailed, match="not a net namespace"):
        open_namespace(folder / "uts", "net")


def test_pins_of_other_processes_and_pins_upon_pins(folder: Path) -> None:
    folder.mkdir()
    pin(f"/proc/{os.getpid()}/ns/pid", folder / "pid")
    assert same_namespace(folder / "pid", "/proc/self/ns/pid")
    run(["mount", "--bind", str(folder / "pid"), str(folder / "pid")])
    unpin(folder / "pid")
    assert not is_mountpoint(folder / "pid")
    with pytest.raises(NamespaceFailed, match="pinning"):
        pin("/proc/1/ns/nothing", folder / "x")
    assert os.listdir(folder) == []


def test_functions_run_inside_and_their_sockets_stay(folder: Path) -> None:
    pins = create_pinned({"net"}, folder)

    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    with in_netns(pins["net"], listen) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
        client = in_netns(pins["net"], lambda: socket.create_connection(("127.0.0.1", port)))
        client.close()

    def fail() -> None:
        raise LookupError("from inside")

    with pytest.raises(LookupError, match="from inside"):
        in_netns(pins["net"], fail)
    with pytest.raises(NamespaceFailed, match="opening .*/missing: No such file"):
        in_netns(folder / "missing", fail)


def test_many_at_once_from_threads(folder: Path) -> None:
    errors: list[BaseException] = []

    def make(number: int) -> None:
        try:
            pins = create_pinned(ALL, folder / str(number), hostname=f"pod{number}")
            assert inside(pins, "hostname") == f"pod{number}"
            unpin_all(folder / str(number))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_pod_with_a_user_namespace(folder: Path) -> None:
    pins = create_pinned_user(
        ALL,
        folder,
        RANGES,
        RANGES,
        hostname="upod",
        sysctls={"net.ipv4.ping_group_range": "0 1001", "net.ipv4.ip_unprivileged_port_start": "0"},
    )
    assert set(pins) == {*ALL, "user"}
    script = (
        "id -u; hostname; cat /proc/sys/net/ipv4/ping_group_range; cat /proc/self/uid_map;"
        " ip -o link show lo | grep -o ',UP'; ip link add v0 type veth peer name v1 && echo owner"
    )
    assert inside(pins, script).split() == [
        *("0", "upod", "0", "1001"),
        *("0", "200000", "1000", "1000", "300000", "64536"),
        *(",UP", "owner"),
    ]


def test_user_namespaces_that_cannot_be(folder: Path) -> None:
    overlapping = [IdRange(0, 0, 10), IdRange(5, 100, 10)]
    with pytest.raises(NamespaceFailed, match="writing its maps"):
        open_user_namespace(overlapping, RANGES)
    with pytest.raises(NamespaceFailed, match="1 to 340 ranges"):
        open_user_namespace([], RANGES)
    with pytest.raises(NamespaceFailed, match="group 70000 does not exist"):
        create_pinned_user(
            ALL, folder, RANGES, RANGES, sysctls={"net.ipv4.ping_group_range": "0 70000"}
        )
    assert os.listdir(folder) == []


@pytest.mark.parametrize("name", ["", "/", "../kernel/hostname", "a/../../x", "."])
def test_names_that_are_no_sysctls(name: str) -> None:
    with pytest.raises(NamespaceFailed):
        write_sysctl(name, "1")


def test_a_sysctl_is_set_where_proc_sys_is_read_only() -> None:
    """As in a container: each IPC namespace has files of its own there, which no mount reaches."""
    program = (
        "from trilby.system.namespaces import write_sysctl\n"
        "write_sysctl('kernel.shm_rmid_forced', '1')\n"
        "print(open('/proc/sys/kernel/shm_rmid_forced').read().strip())\n"
    )
    script = (
        "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
        ' && ! echo 1 2>/dev/null >/proc/sys/kernel/shm_rmid_forced && exec "$@"'
    )
    words = ("unshare", "--mount", "--ipc", "sh", "-c", script, "sh", sys.executable, "-c", program)
    assert run(words).stdout.strip() == b"1"
