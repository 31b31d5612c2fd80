"""Fresh hosts for Molecule, from a shell.

::

    python -m tests.support.hosts prepare            packages, images and the network they hang on
    python -m tests.support.hosts older              packages of an older release, too
    python -m tests.support.hosts older-kubernetes   the same of Kubernetes
    python -m tests.support.hosts create NAME IP     a fresh host that is up
    python -m tests.support.hosts run NAME COMMAND   run a program in it, e.g. bash -l
    python -m tests.support.hosts disk NAME DEV SIZE give it an empty disk, e.g. /dev/vdb 4G
    python -m tests.support.hosts destroy NAME       the host and all that it wrote
    python -m tests.support.hosts list
    python -m tests.support.hosts clear              all hosts, and the network

``prepare`` and ``create`` take ``--launcher LAUNCHER`` in front: what hosts are made of. The
variable TRILBY_HOSTS_LAUNCHER has the last word, and without both it is ``namespaces``:

    namespaces    systemd as PID 1 on the machine's own kernel (cgroup v1); one second
    qemu          virtual machines with pure cgroup v2 and the newest systemd; half a minute
    podman        containers with systemd of the image that TRILBY_HOSTS_IMAGE names

TRILBY_HOSTS_KERNEL may have more words for the kernel of virtual machines, as lsm=selinux.
TRILBY_HOSTS_REPOSITORY may name a folder that is one more signed repository, which hosts know.
What is here is in TRILBY_HOSTS, or else /dev/shm/trilby-hosts. Needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tests.support import hosts_namespaces, hosts_podman, hosts_qemu
from tests.support.hosts_disks import attach, detach
from tests.support.hosts_place import (
    alive,
    argv,
    fabric,
    fabric_pid,
    locked,
    pid_of,
    place,
    start,
    wait,
    wait_end,
)

__all__ = ["main"]

#: What makes hosts: a module with prepare(), boot() and end() for each kind.
LAUNCHERS = {"namespaces": hosts_namespaces, "qemu": hosts_qemu, "podman": hosts_podman}


def launcher(wanted: str) -> str:
    """The launcher that is to be used; SystemExit when there is none of that name."""
    name = os.environ.get("TRILBY_HOSTS_LAUNCHER") or wanted or "namespaces"
    if name not in LAUNCHERS:
        raise SystemExit(f"hosts: no launcher {name!r}; there are {', '.join(LAUNCHERS)}")
    return name


def _launcher_of(name: str) -> ModuleType:
    """What made a host that is there."""
    return LAUNCHERS[(place() / name / "launcher").read_text()]


def prepare(wanted: str = "") -> None:
    """Everything that hosts need and that takes time; what is there is left alone."""
    from tests.support.hosts_packages import publish_images, publish_packages
    from tests.support.hosts_signed import publish_signed

    chosen = launcher(wanted)
    with locked("fabric"):
        publish_packages(fabric() / "web")
        LAUNCHERS[chosen].prepare()
        if not fabric_pid():
            # What a registry of before held is not trusted to be whole.
            for registry in ("registry", "secure"):
                shutil.rmtree(fabric() / registry, ignore_errors=True)
            (fabric() / "ready").unlink(missing_ok=True)
            start(
                *("unshare", "--net", sys.executable, "-m", "tests.support.hosts_fabric"),
                str(fabric()),
                log=fabric() / "log",
            )
            wait(lambda: fabric_pid() > 0, "the network", fabric() / "log")
            publish_images(fabric_pid(), fabric() / "images")
            publish_signed(fabric_pid(), fabric() / "web", fabric() / "signing")
        _prepared(chosen).touch()


def _prepared(chosen: str) -> Path:
    return fabric() / f"prepared-{chosen}"


def create(name: str, address: str, wanted: str = "") -> None:
    """Boot a fresh host, in place of one of that name, and wait until systemd says that it is up."""
    directory = place() / name
    destroy(name)
    chosen = launcher(wanted)
    if not (fabric_pid() and _prepared(chosen).exists()):
        prepare(wanted)
    (directory / "root").mkdir(parents=True)
    (directory / "address").write_text(address)
    (directory / "launcher").write_text(chosen)
    made_by = LAUNCHERS[chosen]
    made_by.boot(name, _files(directory / "files", made_by.REPOSITORY))
    log = directory / "console"
    wait(lambda: _is_up(name), name, log, made_by.START_TIMEOUT)


def _files(files: Path, rawhide: str) -> Path:
    """What every fresh host has besides its packages."""
    from tests.support.hosts_packages import EXTRA, repository_file

    repositories = files / "etc/yum.repos.d"
    repositories.mkdir(parents=True)
    known = {"rawhide": rawhide, "kubernetes": "kubernetes"}
    if (fabric() / "web" / EXTRA).exists():
        known[EXTRA] = EXTRA
    for repository, folder in known.items():
        (repositories / f"{repository}.repo").write_text(repository_file(repository, folder))
    return files


def _is_up(name: str) -> bool:
    """Whether systemd says so of the whole."""
    if not pid_of(name):
        return False
    command = argv(name, ["systemctl", "is-system-running"])
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    return said.strip() in ("running", "degraded")


def destroy(name: str) -> None:
    """Kill a host and remove what it wrote; one that is not there is no error."""
    directory = place() / name
    if pid := pid_of(name):
        _launcher_of(name).end(name, pid)
        wait_end(pid)
    if supervisor := alive(directory / "supervisor"):
        wait_end(supervisor)
    detach(directory)
    shutil.rmtree(directory, ignore_errors=True)


def clear() -> None:
    """All hosts, and the network with its packages and images."""
    for name in names():
        destroy(name)
    if pid := fabric_pid():
        os.kill(pid, signal.SIGTERM)
        wait_end(pid)
    shutil.rmtree(place(), ignore_errors=True)


def names() -> list[str]:
    """The hosts that are there."""
    return sorted(path.parent.name for path in place().glob("*/address"))


def main(words: Sequence[str]) -> int:
    """One command, as the module's text says."""
    from tests.support.hosts_packages import publish_older, publish_older_kubernetes

    wanted = ""
    if words[:1] == ["--launcher"]:
        wanted, words = words[1], words[2:]
    match list(words):
        case ["prepare"]:
            prepare(wanted)
        case ["older"]:
            publish_older(fabric() / "web")
        case ["older-kubernetes"]:
            publish_older_kubernetes(fabric() / "web")
        case ["create", name, address]:
            create(name, address, wanted)
        case ["supervise", name]:
            return hosts_namespaces.supervise(name)
        case ["disk", name, device, size]:
            attach(place() / name, pid_of(name), device, size)
        case ["destroy", name]:
            destroy(name)
        case ["run", name, *command] if command:
            full = argv(name, command)
            os.execvp(full[0], full)
        case ["list"]:
            for name in names():
                sys.stdout.write(f"{name} {(place() / name / 'address').read_text()}\n")
        case ["clear"]:
            clear()
        case _:
            sys.stderr.write(__doc__ or "")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
