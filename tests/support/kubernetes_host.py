"""A fresh host made of namespaces: what a kubelet and its runtime do to a machine stays in it.

The host is tests/kubernetes/host-init, which says what it has of its own. Needs root and cgroup v1
(or hybrid), as cgroup v2 wants its first level empty of processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support import kubernetes

ROOT = Path(__file__).resolve().parents[2]
INIT = ROOT / "tests" / "kubernetes" / "host-init"
ADDRESS = "10.201.0.1"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    # Nothing of the machine's is written, not even caches of Python.
    "PYTHONDONTWRITEBYTECODE": "1",
}
#: Moves a shell into the host's own cgroups and becomes the program.
ENTER = 'for f in /sys/fs/cgroup/*/cgroup.procs; do echo $$ >"$f"; done; exec "$@"'


class Process:
    """A daemon in the host."""

    def __init__(self, launcher: subprocess.Popen[bytes], log: Path) -> None:
        self._launcher = launcher
        self._log = log
        self.pid = child_of(launcher.pid)

    @property
    def running(self) -> bool:
        return self._launcher.poll() is None

    @property
    def ended(self) -> str:
        """How it ended, for a message: a negative number is a signal's; "" while it runs."""
        return "" if self.running else f" (ended with {self._launcher.returncode})"

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It hangs as long as this lasts; so does its launcher, which does as its child does."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in (self.pid, self._launcher.pid):
                os.kill(pid, signal.SIGCONT)

    def end(self, number: int = signal.SIGTERM, timeout: float = 20) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        if self.running:
            os.kill(self.pid, number)
        return self._launcher.wait(timeout)


class Host:
    """A host; between ``boot`` and ``halt`` it runs."""

    def __init__(self, directory: Path, disk: Path, name: str) -> None:
        self.pid = 0
        self._directory = directory
        self._disk = disk
        self._name = name
        self._cgroups: list[Path] = []
        self._init: subprocess.Popen[bytes] | None = None
        self._launchers: list[subprocess.Popen[bytes]] = []

    def boot(self) -> None:
        """Start it, on the disk as it is. Raises OSError, AssertionError."""
        self._cgroups = make_cgroups(self._name)
        (self._disk / "cgroups").write_text("".join(f"{path}\n" for path in self._cgroups))
        binds = [ROOT, Path(sys.base_prefix), kubernetes.cache_folder()]
        with (self._directory / "host.log").open("ab") as log:
            self._init = subprocess.Popen(
                [INIT, "outer", self._disk, self._name, *binds],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        assert self._init.stdout
        ready = self._init.stdout.readline()
        assert ready == b"ready\n", (self._directory / "host.log").read_text()
        self.pid = child_of(self._init.pid)

    def halt(self) -> None:
        """As if the power failed; the disk stays. May be called at any time."""
        if self.pid:
            # PID 1 first, so that its parent sees its end; the kernel ends all others with it.
            os.kill(self.pid, signal.SIGKILL)
            self.pid = 0
            for launcher in self._launchers:
                launcher.wait(10)
        elif self._init is not None:
            self._init.kill()
        if self._init is not None:
            self._init.communicate()
            self._init = None
        remove_cgroups(self._cgroups)

    def path(self, inside: str) -> Path:
        """Where a path of the host is seen from outside."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def run(
        self, *command: str | Path, stdin: bytes = b"", check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end; ``check`` makes a failure an AssertionError with its words."""
        done = subprocess.run(
            self._argv(command), input=stdin, capture_output=True, timeout=timeout
        )
        said = (done.stderr + done.stdout).decode(errors="replace")
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}: {said}"
        return done

    def start(self, name: str, *command: str | Path, **environment: str) -> Process:
        """Start a daemon; what it says goes to a file of its name, appended."""
        log = self._directory / f"{name}.log"
        with log.open("ab") as out:
            launcher = subprocess.Popen(
                self._argv(command, environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._launchers.append(launcher)
        return Process(launcher, log)

    def popen(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """A program with pipes, not in the host's process namespace: its end is the caller's."""
        pipe = subprocess.PIPE
        words = [word for word in self._argv(command) if word != "-p"]
        return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe)

    def _argv(
        self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> list[str]:
        settings = {**ENVIRONMENT, **(environment or {})}
        return [
            *("nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "--"),
            *("env", "-i", *(f"{key}={value}" for key, value in settings.items())),
            *("sh", "-c", ENTER, "sh", *map(str, command)),
        ]


@contextlib.contextmanager
def fresh_host(directory: Path, name: str) -> Iterator[Host]:
    """Boot a host that keeps its logs in ``directory``; everything else is gone afterwards."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    disk = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=memory))
    disk.chmod(0o755)
    host = Host(directory, disk, name)
    try:
        host.boot()
        yield host
    finally:
        host.halt()
        shutil.rmtree(disk)


def make_cgroups(name: str) -> list[Path]:
    """A cgroup in every hierarchy, below the one that this process is in."""
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folder = controllers.removeprefix("name=") or "unified"
        parent = Path("/sys/fs/cgroup") / folder / path.lstrip("/")
        if not parent.is_dir():
            raise OSError(f"{parent} is not there: a fresh host needs the v1 hierarchies")
        (parent / name).mkdir()
        made.append(parent / name)
        if controllers == "cpuset":
            for key in ("cpuset.cpus", "cpuset.mems"):
                (parent / name / key).write_text((parent / key).read_text())
            (parent / name / "cgroup.clone_children").write_text("1")
    return made


def remove_cgroups(cgroups: list[Path], timeout: float = 10) -> None:
    """Remove them from the bottom up; the last processes in them are about to end."""
    end = time.monotonic() + timeout
    for top in cgroups:
        while top.exists():
            try:
                for folder, _, _ in os.walk(top, topdown=False):
                    os.rmdir(folder)
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)


def child_of(pid: int, timeout: float = 10) -> int:
    """The only child of a launcher, which forks for the new process namespace."""
    end = time.monotonic() + timeout
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while time.monotonic() < end:
        found = children.read_text().split() if children.exists() else []
        if found:
            return int(found[0])
        time.sleep(0.005)
    raise OSError(f"process {pid} has no child")
