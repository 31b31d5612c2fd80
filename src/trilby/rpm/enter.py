"""Runs one command in another root: ``python -m trilby.rpm.enter OPTIONS ROOT COMMAND...``.

A process of its own, because a mount namespace and chroot(2) belong to a whole process. All mounts
are in a mount namespace that ends with the command, and all processes in a PID namespace that ends
with the command or with the caller, whoever is first: nothing is left to undo.

Options: ``--parent PID`` is the caller; ``--bind DIR`` shows a directory of the caller in ROOT at
the same place, ``--bind DIR=PLACE`` at another one; ``--api DIR`` mounts /proc, /sys and /dev below
a further root, for a package manager that installs there; ``--setenv NAME=VALUE``;
``--user UID:GID``; ``--chdir DIR``; ``--no-network`` leaves loopback only.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final, NoReturn

import msgspec

from trilby.system import syscalls
from trilby.system.mounts import BindMount, Propagation
from trilby.system.syscalls_mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, mount

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
PR_SET_PDEATHSIG: Final = 1
CANNOT_ENTER: Final = 120


class Order(msgspec.Struct):
    """What the command line asks for."""

    parent: int = 0
    root: str = ""
    command: list[str] = []
    binds: list[str] = []
    api: list[str] = []
    env: dict[str, str] = {}
    user: tuple[int, int] | None = None
    chdir: str = "/"
    network: bool = True


def parse(argv: list[str]) -> Order:
    """The order; raises ValueError for a line that toolkit code does not write."""
    order = Order(env=dict(ENVIRONMENT))
    rest = list(argv)
    while rest and rest[0].startswith("--"):
        option = rest.pop(0)
        if option == "--no-network":
            order.network = False
            continue
        value = rest.pop(0)
        if option == "--parent":
            order.parent = int(value)
        elif option == "--bind":
            order.binds.append(value)
        elif option == "--api":
            order.api.append(value)
        elif option == "--setenv":
            name, _, text = value.partition("=")
            order.env[name] = text
        elif option == "--user":
            uid, _, gid = value.partition(":")
            order.user = (int(uid), int(gid))
        elif option == "--chdir":
            order.chdir = value
        else:
            raise ValueError(f"unknown option {option}")
    if len(rest) < 2:
        raise ValueError("ROOT and a command are needed")
    order.root, *order.command = rest
    return order


def be_mortal(parent: int) -> None:
    """Return in a process of a new PID namespace that does not outlive ``parent``.

    Three processes: this one waits, and ends as the command does. Its child is the namespace's
    first: it takes orphans, and whatever ends it ends all that is there. Its child returns.
    """
    _die_with_parent()
    if parent and os.getppid() != parent:  # it was quicker
        os._exit(CANNOT_ENTER)
    ours, theirs = os.pipe()
    syscalls.unshare(CLONE_NEWPID)
    first = os.fork()
    if first:
        os.close(ours)
        _wait_and_end_as(first)
    _die_with_parent()
    os.close(theirs)
    os.set_blocking(ours, False)
    try:
        os.read(ours, 1)
        os._exit(CANNOT_ENTER)  # the other end is closed: our parent was killed before it counted
    except BlockingIOError:
        os.close(ours)
    command = os.fork()
    if command:
        _wait_and_end_as(command)


def _die_with_parent() -> None:
    syscalls.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_and_end_as(child: int) -> NoReturn:
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def enter(order: Order) -> None:
    """Make this process one that lives in the other root, with the mounts it needs."""
    syscalls.unshare(CLONE_NEWNS | CLONE_NEWIPC | (0 if order.network else CLONE_NEWNET))
    Propagation("/", "slave", recursive=True).mount()
    if not order.network:
        from trilby.system.namespaces import bring_up

        bring_up("lo")
    for path in order.api:
        mount_api(path, devices=False)
    if order.root != "/":
        mount_api(order.root, devices=True)
        for bind in order.binds:
            path, _, place = bind.partition("=")
            inside = order.root + (place or path)
            os.makedirs(inside, exist_ok=True)
            BindMount(path, inside, propagation="slave").mount()
        if order.network:
            _resolver(order.root)
        os.chroot(order.root)
    os.chdir(order.chdir)
    if order.user is not None:
        uid, gid = order.user
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def mount_api(root: str, *, devices: bool) -> None:
    """/proc and /sys in a root, and /dev as it is here; without ``devices`` only the few nodes."""
    for name in ("proc", "sys", "dev"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    if devices:
        BindMount("/dev", f"{root}/dev", propagation="slave").mount()
        return
    mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=0755,size=1m")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        node = f"{root}/dev/{name}"
        os.close(os.open(node, os.O_CREAT | os.O_WRONLY, 0o666))
        BindMount(f"/dev/{name}", node, recursive=False).mount()


def _resolver(root: str) -> None:
    """Names resolve as outside, if the root has a file to put ours over."""
    target = f"{root}/etc/resolv.conf"
    source = os.path.realpath("/etc/resolv.conf")
    if os.path.isfile(target) and not os.path.islink(target) and os.path.isfile(source):
        BindMount(source, target, recursive=False).mount()


def main(argv: list[str]) -> int:
    try:
        order = parse(argv)
        be_mortal(order.parent)
        enter(order)
        os.execvpe(order.command[0], order.command, order.env)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"trilby.rpm.enter: {error}\n")
        return CANNOT_ENTER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
