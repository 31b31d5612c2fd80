"""Hosts that are virtual machines: a kernel of their own, pure cgroup v2, the newest systemd.

qemu emulates the processor where there is no KVM, which is some ten times slower. What a machine
writes is a temporary file of qemu's; it survives reboots, and goes with the machine. A tap is its
cable to the network's bridge. ``host_agent.py`` beside this file is the way in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.hosts_fabric import BRIDGE, GATEWAY, LENGTH
from tests.support.hosts_place import (
    address_of,
    enter_by,
    fabric,
    fabric_pid,
    place,
    remember,
    start,
    wait,
)

__all__ = ["REPOSITORY", "START_TIMEOUT", "boot", "end", "prepare"]

REPOSITORY = "rawhide-newest"
START_TIMEOUT = 300.0
PROGRAM = "qemu-system-x86_64"
MEMORY_MIB = 4096
PROCESSORS = 2
AGENT = Path(__file__).with_name("host_agent.py")
AGENT_INSIDE = "/usr/local/libexec/host_agent.py"
AGENT_PORT = 1022
PYTHON_INSIDE = "/usr/bin/python3.14"
UNITS = "etc/systemd/system"
SERVICE = f"""\
[Unit]
Description=Commands of who tests this host
[Service]
ExecStart={PYTHON_INSIDE} {AGENT_INSIDE} serve {AGENT_PORT}
KillMode=mixed
Restart=always
[Install]
WantedBy=multi-user.target
"""
#: No emulation of what processors have mistakes of; names of interfaces as they come; Fedora's
#: kernels start without AppArmor.
KERNEL_WORDS = (
    "console=ttyS0",
    "quiet",
    "mitigations=off",
    "net.ifnames=0",
    # Neither AppArmor nor SELinux, which Debian's kernel has in turn: nobody loads a policy.
    "lsm=landlock,yama,bpf",
    # A kernel that panics (seen once, in its fourth second) starts again: nobody is there to do it.
    "panic=-1",
    "systemd.show_status=1",
)
#: The first program of this machine has set up the network, and nobody waits at its console.
NOT_STARTED = (
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-resolve-hook.socket",
    "systemd-networkd-wait-online.service",
    "serial-getty@ttyS0.service",
    "getty@tty1.service",
)


def prepare() -> None:
    """The kernel and a disk; SystemExit without qemu."""
    from tests.support.hosts_machine import machine
    from tests.support.hosts_packages import publish_packages

    if shutil.which(PROGRAM) is None:
        raise SystemExit(f"hosts: {PROGRAM} is not installed: run scripts/setup qemu")
    publish_packages(fabric() / "web", newest=True)
    machine()


def boot(name: str, files: Path) -> None:
    """Start a machine whose root gets ``files``; whether it is up is asked by the caller."""
    from tests.support.hosts_machine import DISK, KERNEL, first_root, machine

    directory, made = place() / name, machine()
    _complete(name, files)
    initrd = directory / "initrd"
    initrd.write_bytes(first_root(files, directory / "first-root"))
    tap = f"vm{address_of(name).rpartition('.')[2]}"
    more = os.environ.get("TRILBY_HOSTS_KERNEL", "").split()
    words = (*KERNEL_WORDS, *more, f"address={address_of(name)}/{LENGTH}", f"gateway={GATEWAY}")
    inside = ("nsenter", "--net", "--target", str(fabric_pid()), "--")
    log = directory / "console"
    pid = start(
        *(*inside, PROGRAM, "-machine", "q35", *_processors(), "-m", str(MEMORY_MIB)),
        *("-nodefaults", "-display", "none", "-serial", "stdio"),
        *("-kernel", str(made / KERNEL), "-initrd", str(initrd)),
        *("-append", " ".join(words)),
        *("-drive", f"file={made / DISK},format=raw,if=virtio,snapshot=on,cache=unsafe"),
        *("-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=net,mac={_mac(name)},romfile="),
        *("-device", "virtio-rng-pci"),
        log=log,
        # What is written goes into a file there, which nobody else can open.
        environment={"TMPDIR": str(directory)},
    )
    remember(directory / "pid", pid)
    enter_by(
        name,
        *inside,
        *(sys.executable, str(AGENT), "call", address_of(name), str(AGENT_PORT)),
    )
    plug = [*inside, "ip", "link", "set", tap, "master", BRIDGE, "up"]
    wait(lambda: subprocess.run(plug, capture_output=True).returncode == 0, f"{name}'s tap", log)


def _processors() -> tuple[str, ...]:
    """By KVM where it is wanted; a /dev/kvm may be there that boots no ordinary kernel."""
    if os.environ.get("TRILBY_HOSTS_KVM"):
        return ("-accel", "kvm", "-cpu", "host", "-smp", str(PROCESSORS))
    # Tables of pages with a fifth level make each access that is not cached dearer.
    return ("-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", str(PROCESSORS))


def _mac(name: str) -> str:
    """One that is the host's on this network; 52:54 is qemu's."""
    return "52:54:" + ":".join(f"{int(part):02x}" for part in address_of(name).split("."))


def _complete(name: str, files: Path) -> None:
    """The agent, and what a network and a console would be set up with."""
    agent = files / AGENT_INSIDE.lstrip("/")
    agent.parent.mkdir(parents=True)
    shutil.copy(AGENT, agent)
    wants = files / UNITS / "multi-user.target.wants"
    wants.mkdir(parents=True)
    (files / UNITS / "host-agent.service").write_text(SERVICE)
    (wants / "host-agent.service").symlink_to("../host-agent.service")
    for unit in NOT_STARTED:
        (files / UNITS / unit).symlink_to("/dev/null")
    (files / "etc/hostname").write_text(f"{name}\n")
    (files / "etc/hosts").write_text(f"127.0.0.1 localhost\n{address_of(name)} {name}\n")
    (files / "etc/resolv.conf").write_text(f"nameserver {GATEWAY}\n")
    # The root is mounted already.
    (files / "etc/fstab").touch()
    # What is made anew for files of a new /usr is not: they are as old as the disk.
    for folder in ("etc", "var"):
        (files / folder).mkdir(exist_ok=True)
        (files / folder / ".updated").touch()
    (files / "etc/systemd/system.conf.d").mkdir()
    stop = "[Manager]\nDefaultTimeoutStopSec=20s\n"
    (files / "etc/systemd/system.conf.d/10-test.conf").write_text(stop)


def end(name: str, pid: int) -> None:
    """As if the power failed."""
    os.kill(pid, signal.SIGKILL)
