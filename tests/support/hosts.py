"""Fresh hosts for Molecule, from a shell: plain namespaces with systemd as PID 1.

::

    python -m tests.support.hosts prepare            packages, images and the network they hang on
    python -m tests.support.hosts older              packages of an older release, too
    python -m tests.support.hosts create NAME IP     a fresh host that is up
    python -m tests.support.hosts run NAME COMMAND   run a program in it, e.g. bash -l
    python -m tests.support.hosts disk NAME DEV SIZE give it an empty disk, e.g. /dev/vdb 4G
    python -m tests.support.hosts destroy NAME       the host and all that it wrote
    python -m tests.support.hosts list
    python -m tests.support.hosts clear              all hosts, and the network

A host's root is the stand-in for Rawhide (spec/standin) with an overlay in memory; it survives
reboots, and goes with ``destroy``. ``host-init`` beside this file says what a host has of its own.
TRILBY_HOSTS_REPOSITORY may name a folder that is one more signed repository, which hosts know.
What is here is in TRILBY_HOSTS, or else /dev/shm/trilby-hosts. Needs root and cgroup v1.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.support.host import ENVIRONMENT, INIT
from tests.support.hosts_disks import attach, detach
from tests.support.hosts_fabric import BRIDGE, GATEWAY, LENGTH
from tests.support.kubernetes_host import child_of, make_cgroups, remove_cgroups

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 60.0


def place() -> Path:
    """Where hosts are."""
    return Path(os.environ.get("TRILBY_HOSTS") or "/dev/shm/trilby-hosts")


# -- the network


def fabric() -> Path:
    return place() / "fabric"


def fabric_pid() -> int:
    """The process that is the network; 0 when there is none."""
    return _alive(fabric() / "ready")


def prepare() -> None:
    """Everything that hosts need and that takes time; what is there is left alone."""
    from tests.support.hosts_packages import publish_images, publish_packages
    from tests.support.hosts_signed import publish_signed

    with _locked("fabric"):
        (fabric() / "root").write_text(str(publish_packages(fabric() / "web")))
        if not fabric_pid():
            # What a registry of before held is not trusted to be whole.
            for registry in ("registry", "secure"):
                shutil.rmtree(fabric() / registry, ignore_errors=True)
            (fabric() / "ready").unlink(missing_ok=True)
            _start(
                *("unshare", "--net", sys.executable, "-m", "tests.support.hosts_fabric"),
                str(fabric()),
                log=fabric() / "log",
            )
            _wait(lambda: fabric_pid() > 0, "the network", fabric() / "log")
            publish_images(fabric_pid(), fabric() / "images")
            publish_signed(fabric_pid(), fabric() / "web", fabric() / "signing")


# -- hosts


def create(name: str, address: str) -> None:
    """Boot a fresh host, in place of one of that name, and wait until systemd says that it is up."""
    from tests.support.hosts_packages import EXTRA, repository_file

    directory = place() / name
    destroy(name)
    if not fabric_pid():
        prepare()
    repositories = directory / "root/upper/etc/yum.repos.d"
    repositories.mkdir(parents=True)
    extra = (EXTRA,) if (fabric() / "web" / EXTRA).exists() else ()
    for repository in ("rawhide", "kubernetes", *extra):
        (repositories / f"{repository}.repo").write_text(repository_file(repository))
    # Debian's dnf5 keeps copies of what it installs; Fedora's has that in a package of its own.
    plugins = directory / "root/upper/etc/dnf/libdnf5-plugins"
    plugins.mkdir(parents=True)
    (plugins / "local.conf").write_text("[main]\nname = local\nenabled = 0\n")
    (directory / "address").write_text(address)
    log = directory / "console"
    _start(sys.executable, "-m", "tests.support.hosts", "supervise", name, log=log)
    _wait(lambda: pid_of(name) > 0 and _state(name) in ("running", "degraded"), name, log)


def supervise(name: str) -> int:
    """The host's only process outside its namespaces: boots it, and boots it again."""
    directory = place() / name
    address = (directory / "address").read_text()
    lower = (fabric() / "root").read_text()
    scratch = directory / "root"
    cgroups = make_cgroups(f"trilby-{name}-{os.getpid()}")
    (scratch / "cgroups").write_text("".join(f"{path}\n" for path in cgroups))
    (directory / "supervisor").write_text(str(os.getpid()))
    environment = ENVIRONMENT | {
        "KEEP": "yes",
        "ADDRESS": f"{address}/{LENGTH}",
        "GATEWAY": GATEWAY,
    }
    try:
        while True:
            launcher = subprocess.Popen(
                [INIT, "outer", scratch, name, lower], stdin=subprocess.DEVNULL, env=environment
            )
            pid = child_of(launcher.pid)
            _plug(name, pid)
            (directory / "pid").write_text(str(pid))
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


def destroy(name: str) -> None:
    """Kill a host and remove what it wrote; one that is not there is no error."""
    directory = place() / name
    if pid := pid_of(name):
        os.kill(pid, signal.SIGKILL)
    if supervisor := _alive(directory / "supervisor"):
        _wait_end(supervisor)
    detach(directory)
    shutil.rmtree(directory, ignore_errors=True)


def clear() -> None:
    """All hosts, and the network with its packages and images."""
    for name in names():
        destroy(name)
    if pid := fabric_pid():
        os.kill(pid, signal.SIGTERM)
        _wait_end(pid)
    shutil.rmtree(place(), ignore_errors=True)


def names() -> list[str]:
    """The hosts that are there."""
    return sorted(path.parent.name for path in place().glob("*/address"))


def pid_of(name: str) -> int:
    """PID 1 of a host as the machine numbers it; 0 when it does not run."""
    return _alive(place() / name / "pid")


def argv(name: str, command: Sequence[str]) -> list[str]:
    """The command line on the machine that runs a command in a host."""
    pid = pid_of(name)
    if not pid:
        raise SystemExit(f"hosts: {name} does not run")
    return [
        *("nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"),
        *("env", "-i", *(f"{key}={value}" for key, value in ENVIRONMENT.items())),
        f"TERM={os.environ.get('TERM', 'dumb')}",
        *command,
    ]


def _state(name: str) -> str:
    """What systemd says of the whole."""
    command = argv(name, ["systemctl", "is-system-running"])
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


# -- processes


def _start(*command: str, log: Path) -> None:
    """A process of its own session, which stays when we end."""
    with log.open("ab") as out:
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def _alive(path: Path) -> int:
    """The process number in a file, if that process is there."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(path.read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return 0 if state == "Z" else pid
    return 0


def _wait(look: Callable[[], bool], what: str, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT
    while not look():
        if time.monotonic() > end:
            raise SystemExit(f"hosts: {what} is not up after {START_TIMEOUT} s: {log.read_text()}")
        time.sleep(0.1)


def _wait_end(pid: int, timeout: float = 30) -> None:
    end = time.monotonic() + timeout
    while _stat(pid) and time.monotonic() < end:
        time.sleep(0.05)


def _stat(pid: int) -> bool:
    """Whether a process is there and is not only waiting for its parent."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    (place() / name).mkdir(parents=True, exist_ok=True)
    with (place() / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main(words: Sequence[str]) -> int:
    """One command, as the module's text says."""
    from tests.support.hosts_packages import publish_older

    match list(words):
        case ["prepare"]:
            prepare()
        case ["older"]:
            publish_older(fabric() / "web")
        case ["create", name, address]:
            create(name, address)
        case ["supervise", name]:
            return supervise(name)
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
