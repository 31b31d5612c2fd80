"""Hosts that are containers of podman with systemd: of Fedora's own image, where it can be had.

TRILBY_HOSTS_IMAGE names the image. It is completed once with what a node has but for Trilby and the
kubelet, from the repositories that it knows; its hosts see only the network of the tests. They have
the machine's kernel and its cgroups, of whichever version; on version 1 systemd must be older than
258.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

from tests.support.hosts_fabric import BRIDGE, GATEWAY, LENGTH
from tests.support.hosts_place import address_of, enter_by, fabric_pid, place, remember, start

__all__ = ["REPOSITORY", "START_TIMEOUT", "boot", "end", "prepare"]

REPOSITORY = "rawhide"
START_TIMEOUT = 120.0
IMAGE = "registry.fedoraproject.org/fedora:rawhide"
COMPLETE = "localhost/trilby-host"
#: An image that boots is taken as it is. Mirrors are not to be reached from the tests' network.
CONTAINERFILE = """\
FROM {image}
RUN test -x /usr/lib/systemd/systemd || (dnf -y install \
    systemd util-linux iproute procps-ng kmod hostname python3-libdnf5 python3.14 \
    conmon crun runc catatonit containernetworking-plugins containers-common iptables-nft \
    conntrack-tools ethtool socat && rm -f /etc/yum.repos.d/fedora*.repo)
"""
#: Overlays do not go on an overlay.
VOLUMES = ("/var/lib/containers", "/var/lib/kubelet", "/var/lib/containerd", "/var/log")
#: How systemd before 258 is told to take cgroup v1; others ignore it.
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")
LEGACY = ("systemd.unified_cgroup_hierarchy=no", "systemd.legacy_systemd_cgroup_controller=yes")


def prepare() -> None:
    """The image, complete; SystemExit when it cannot be had."""
    if shutil.which("podman") is None:
        raise SystemExit("hosts: podman is not installed")
    image = os.environ.get("TRILBY_HOSTS_IMAGE") or IMAGE
    text = CONTAINERFILE.format(image=image)
    built = ["podman", "build", *_runtime(), "-q", "-t", COMPLETE, "-f", "-"]
    done = subprocess.run(built, input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"hosts: podman build of {image} failed: {done.stderr.strip()}")


def boot(name: str, files: Path) -> None:
    """Start a container with ``files`` over its root; it starts again when it reboots."""
    directory = place() / name
    log = directory / "console"
    # The network outlives the container's reboots: a process that waits has it.
    pid = start("unshare", "--net", "sleep", "infinity", log=log)
    remember(directory / "pid", pid)
    _plug(name, pid)
    volumes = (word for place in VOLUMES for word in ("--volume", place))
    legacy = () if UNIFIED.exists() else LEGACY
    container = f"trilby-{name}"
    _podman(
        *("create", "--name", container, "--hostname", name, "--no-hosts"),
        *(
            "--privileged",
            "--systemd=always",
            "--cgroupns=private",
            "--restart=always",
        ),
        *("--network", f"ns:/proc/{pid}/ns/net", *volumes),
        # podman's own are more than root may have where CAP_SYS_RESOURCE is missing.
        *("--ulimit", f"nofile={_hard(resource.RLIMIT_NOFILE)}"),
        *("--ulimit", f"nproc={_hard(resource.RLIMIT_NPROC)}"),
        *(COMPLETE, "/usr/lib/systemd/systemd", *legacy),
    )
    (files / "etc/hosts").write_text(f"127.0.0.1 localhost\n{address_of(name)} {name}\n")
    _podman("cp", f"{files}/.", f"{container}:/")
    _podman("start", container)
    enter_by(name, "podman", "exec", "-i", container)


def _hard(limit: int) -> int:
    return resource.getrlimit(limit)[1]


def _plug(name: str, pid: int) -> None:
    """A cable from the network's bridge, whose other end is the host's eth0."""
    link = f"p{pid}"
    fabric = ("nsenter", "--net", "--target", str(fabric_pid()), "ip")
    host = ("nsenter", "--net", "--target", str(pid), "ip")
    for command in (
        (*fabric, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(pid)),
        (*fabric, "link", "set", link, "master", BRIDGE, "up"),
        (*host, "link", "set", "lo", "up"),
        (*host, "address", "add", f"{address_of(name)}/{LENGTH}", "dev", "eth0"),
        (*host, "link", "set", "eth0", "up"),
        (*host, "route", "add", "default", "via", GATEWAY),
    ):
        subprocess.run(command, check=True)


def _runtime() -> tuple[str, ...]:
    """crun takes pure cgroup v1 or v2, and no mixture."""
    return () if UNIFIED.exists() else ("--runtime", shutil.which("runc") or "runc")


def _podman(*words: str) -> None:
    done = subprocess.run(["podman", *_runtime(), *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"hosts: podman {words[0]} failed: {done.stderr.strip()}")


def end(name: str, pid: int) -> None:
    """Remove the container with its volumes, and its network."""
    subprocess.run(
        ["podman", "rm", "--force", "--time", "0", "--volumes", f"trilby-{name}"],
        capture_output=True,
    )
    os.kill(pid, signal.SIGKILL)
