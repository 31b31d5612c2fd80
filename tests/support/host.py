"""A host with systemd as PID 1, made of namespaces over a root that a package manager filled.

host-init beside this file says what it has of its own. Needs root and cgroup v1 (or hybrid), and a
systemd before 258, which boots on that. It is not a security boundary.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.kubernetes_host import child_of, make_cgroups, remove_cgroups

__all__ = ["SystemdHost", "booted"]

INIT = Path(__file__).with_name("host-init")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


class SystemdHost:
    """A running host. Commands run in its namespaces, as from a root's login shell."""

    def __init__(self, pid: int, console: Path) -> None:
        self.pid = pid
        self.console = console

    def path(self, inside: str) -> Path:
        """Where a path of the host is seen from outside."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def run(
        self, *command: str, check: bool = True, timeout: float = 60, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; ``check`` makes a failure an AssertionError with its words."""
        done = subprocess.run(
            self.argv(command),
            input=stdin.decode(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        said = f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, said
        return done

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line on the machine; what it starts is in a cgroup of its own."""
        return [
            *("nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"),
            *("env", "-i", *(f"{key}={value}" for key, value in ENVIRONMENT.items())),
            *command,
        ]

    def text(self, *command: str) -> str:
        return self.run(*command).stdout.strip()

    def succeeds(self, *command: str) -> bool:
        return self.run(*command, check=False).returncode == 0

    def state(self) -> str:
        """What systemd says of the whole: running, degraded, starting."""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def _wait_until_up(self, launcher: subprocess.Popen[bytes], timeout: float) -> None:
        end = time.monotonic() + timeout
        while self.state() not in ("running", "degraded"):
            assert launcher.poll() is None, f"the host ended: {self.console.read_text()}"
            assert time.monotonic() < end, f"not up in {timeout} s: {self.console.read_text()}"
            time.sleep(0.1)


@contextlib.contextmanager
def booted(
    root: Path, directory: Path, name: str, binds: Sequence[Path] = (), timeout: float = 60
) -> Iterator[SystemdHost]:
    """Boot a host over ``root``, which stays as it is; ``directory`` gets its console's output."""
    scratch = directory / "scratch"
    scratch.mkdir(parents=True)
    cgroups = make_cgroups(name)
    (scratch / "cgroups").write_text("".join(f"{path}\n" for path in cgroups))
    console = directory / "console"
    launcher = None
    try:
        with console.open("wb") as log:
            launcher = subprocess.Popen(
                [INIT, "outer", scratch, name, root, *binds],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        host = SystemdHost(child_of(launcher.pid), console)
        host._wait_until_up(launcher, timeout)
        yield host
    finally:
        if launcher is not None:
            # The kernel ends all processes of the host with its PID 1.
            with contextlib.suppress(OSError):
                os.kill(child_of(launcher.pid, 0.1), signal.SIGKILL)
            launcher.kill()
            launcher.wait()
        remove_cgroups(cgroups)
