"""Hosts made of plain namespaces: they boot in a second, and share the machine's kernel.

A host's root is the stand-in for Rawhide (spec/standin) with an overlay in memory; it survives
reboots. ``host-init`` beside this file says what a host has of its own. Needs root and cgroup v1,
and so a systemd before 258.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.host import ENVIRONMENT, INIT
from tests.support.hosts_fabric import BRIDGE, GATEWAY, GATEWAY6, LENGTH, LENGTH6
from tests.support.hosts_place import (
    address_of,
    enter_by,
    fabric,
    fabric_pid,
    place,
    remember,
    start,
)
from tests.support.kubernetes_host import child_of, make_cgroups, remove_cgroups

__all__ = ["REPOSITORY", "START_TIMEOUT", "boot", "end", "prepare", "supervise"]

#: Of the stand-in that such hosts are made of, on the web server.
REPOSITORY = "rawhide"
START_TIMEOUT = 60.0
#: A node of a cluster has some thirty: the kubelet, the control plane, systemd.
WATCHERS = 1024


def prepare() -> None:
    """A root that hosts are an overlay over."""
    from tests.support.hosts_packages import root_for_ansible

    (fabric() / "root").write_text(str(root_for_ansible()))
    _allow_watching()


def _allow_watching() -> None:
    """All hosts are one user to the kernel, whose 128 watchers are not enough for a cluster."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < WATCHERS:
        limit.write_text(f"{WATCHERS}\n")


def boot(name: str, files: Path) -> None:
    """Start a host with ``files`` over its root; whether it is up is asked by the caller."""
    directory = place() / name
    files.rename(directory / "root/upper")
    log = directory / "console"
    start(sys.executable, "-m", "tests.support.hosts", "supervise", name, log=log)


def supervise(name: str) -> int:
    """The host's only process outside its namespaces: boots it, and boots it again."""
    directory = place() / name
    lower = (fabric() / "root").read_text()
    scratch = directory / "root"
    cgroups = make_cgroups(f"trilby-{name}-{os.getpid()}")
    (scratch / "cgroups").write_text("".join(f"{path}\n" for path in cgroups))
    remember(directory / "supervisor", os.getpid())
    environment = ENVIRONMENT | {
        "KEEP": "yes",
        "ADDRESS": f"{address_of(name)}/{LENGTH}",
        "ADDRESS6": f"fd88::{address_of(name).rpartition('.')[2]}/{LENGTH6}",
        "GATEWAY": GATEWAY,
        "GATEWAY6": GATEWAY6,
    }
    try:
        while True:
            launcher = subprocess.Popen(
                [INIT, "outer", scratch, name, lower], stdin=subprocess.DEVNULL, env=environment
            )
            pid = child_of(launcher.pid)
            _plug(name, pid)
            namespaces = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
            enter_by(name, "nsenter", "-t", str(pid), *namespaces, "--")
            remember(directory / "pid", pid)
            # The kernel ends the namespaces' PID 1 by SIGHUP when it is to boot again.
            if launcher.wait() != -signal.SIGHUP:
                return 0
            for cgroup in cgroups:
                remove_cgroups([path for path in cgroup.iterdir() if path.is_dir()])
    finally:
        remove_cgroups(cgroups)


def _plug(name: str, pid: int) -> None:
    """A cable from the network's bridge to the host, whose end is called eth0 there."""
    link = f"h{pid}"
    inside = ("nsenter", "--net", "--target", str(fabric_pid()), "ip")
    add = ("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    subprocess.run([*inside, *add], check=True)
    subprocess.run([*inside, "link", "set", link, "master", BRIDGE, "up"], check=True)


def end(name: str, pid: int) -> None:
    """Kill its PID 1, and all with it."""
    os.kill(pid, signal.SIGKILL)
