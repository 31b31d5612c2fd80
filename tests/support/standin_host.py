"""A booted host of the stand-in's RPMs, on which a person would use dnf, rpm, systemctl and trilby."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.host import SystemdHost, booted
from tests.support.pods import busybox_files
from tests.support.standin import repository
from tests.support.standin_root import host_root
from tests.support.store import docker_archive, layer_tar

from trilby.rpm.repo import Repository

__all__ = ["IMAGE", "LOG", "SOCKET", "RpmHost", "rpm_host"]

LOG = Path(__file__).resolve().parents[2] / "build" / "rpm-lifecycle.log"
SOCKET = "/run/trilby/trilby.sock"
RUNTIME = "/etc/trilby/trilby.conf.d/10-runtime.conf"
IMAGE = "docker.io/library/busybox:latest"
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  # As a container's first process sleep does not hear SIGTERM.
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: {image}
      imagePullPolicy: Never
      command: [sleep, "{seconds}"]
"""


class RpmHost:
    """What is done on the host goes to build/rpm-lifecycle.log, with its time and result."""

    def __init__(self, host: SystemdHost, media: Path) -> None:
        self.host = host
        self._media = media

    def run(
        self, *command: str, check: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        began = time.monotonic()
        done = self.host.run(*command, check=False, timeout=timeout)
        note(f"{' '.join(command)} -> {done.returncode} ({time.monotonic() - began:.1f} s)")
        said = f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, said
        return done

    def text(self, *command: str) -> str:
        return self.run(*command).stdout.strip()

    def succeeds(self, *command: str) -> bool:
        return self.run(*command, check=False).returncode == 0

    def dnf(self, *words: str, check: bool = True) -> str:
        """dnf5 of the host; what it says, of both kinds."""
        done = self.run("dnf5", "-y", *words, check=check)
        return done.stdout + done.stderr

    def know(self, repository: Repository) -> None:
        """As from a file that a person puts into /etc/yum.repos.d."""
        folder = self.host.path("/etc/yum.repos.d")
        (folder / f"{repository.name}.repo").write_text(repository.text())

    def forget(self, repository: Repository) -> None:
        self.host.path(f"/etc/yum.repos.d/{repository.name}.repo").unlink()

    def packages(self) -> list[str]:
        return sorted(self.text("rpm", "-qa").splitlines())

    def version(self, package: str) -> str:
        """Empty if it is not installed."""
        done = self.run("rpm", "-q", "--qf", "%{VERSION}", package, check=False)
        return done.stdout if done.returncode == 0 else ""

    def altered(self, *packages: str) -> str:
        """What ``rpm -V`` finds; empty if all files are as they were installed."""
        return self.run("rpm", "-V", *packages, check=False).stdout.strip()

    # -- pods

    def use_runc(self) -> None:
        """In place of crun, which refuses the mixture of cgroup v1 and v2 that machines have on
        which these hosts boot."""
        self.dnf("install", "runc")
        self.host.path(RUNTIME).write_text('[trilby.runtime]\ndefault_runtime = "runc"\n')

    def pull(self) -> None:
        """Bring busybox into the store, as from a medium."""
        self.run("trilby", "image", "pull", "-q", f"docker-archive:{self._media}/busybox.tar")

    def start_pod(self, name: str, seconds: int) -> None:
        """A pod that sleeps so long; the number is how its process is found."""
        text = POD.format(name=name, image=IMAGE, seconds=seconds)
        self.host.path(f"/root/{name}.yaml").write_text(text)
        self.run("trilby", "pod", "run", "-q", "-d", "--host", SOCKET, f"/root/{name}.yaml")

    def process(self, seconds: int) -> str:
        """The process of a pod's container and when it began; empty if there is none."""
        pid = self.run("pgrep", "-x", "-f", f"sleep {seconds}", check=False).stdout.strip()
        return self.text("ps", "-o", "pid=,lstart=", "-p", pid) if pid else ""

    def main_pid(self, unit: str = "trilby") -> int:
        """Of a unit that runs; 0 if it does not."""
        return int(self.text("systemctl", "show", "-P", "MainPID", unit))


@contextlib.contextmanager
def rpm_host(name: str, repositories: Sequence[Repository] = ()) -> Iterator[RpmHost]:
    """Boot a host that knows the stand-in; the others are where it can be told of them."""
    root, rawhide = host_root(), repository()
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    media = directory / "media"
    media.mkdir()
    docker_archive(media / "busybox.tar", IMAGE, [layer_tar(busybox_files())])
    binds = [media, *(Path(each.directory) for each in (rawhide, *repositories))]
    try:
        began = time.monotonic()
        with booted(root, directory, name, binds) as host:
            note(f"{name}: booted in {time.monotonic() - began:.1f} s, {host.state()}")
            yield RpmHost(host, media)
        shutil.rmtree(directory)
    except BaseException:
        note(f"{name}: failed; what its console said is in {directory}")
        raise


def note(text: str) -> None:
    """A line of the log."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a") as log:
        log.write(f"{time.strftime('%H:%M:%S')} {text}\n")
