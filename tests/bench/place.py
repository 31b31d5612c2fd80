"""Where a run keeps its things, and how it calls trilby, podman and skopeo: all on tmpfs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trilby.system.mounts import unmount_tree

ROOT = Path(__file__).resolve().parents[2]
ENTRY = "import sys; sys.argv[0] = 'trilby'; from trilby.cli.main import main; main()"


class Place:
    """A directory on tmpfs with configuration that every tool is told to read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        (directory / "tmp").mkdir(parents=True, exist_ok=True)
        (directory / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\n'
            f'graphroot = "{directory}/unused/g"\nrunroot = "{directory}/unused/r"\n'
        )
        (directory / "registries.conf").write_text("")
        (directory / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.networks = directory / "net"
        self.networks.mkdir(exist_ok=True)
        (directory / "containers.conf").write_text(_containers_conf(self.networks))

    def environment(self) -> dict[str, str]:
        """For every measured process. Bytecode is cached, as that of an installed package is."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory / "tmp"),
            "LANG": "C.UTF-8",
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
            "STORAGE_CONF": str(self.directory / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.directory / "registries.conf"),
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONPYCACHEPREFIX": str(self.directory / "pycache"),
        }

    def trilby(self, store: Path, *arguments: str) -> list[str]:
        """The console entry point on a store."""
        where = ["--root", f"{store}/g", "--runroot", f"{store}/r", "--storage-driver", "overlay"]
        return [sys.executable, "-c", ENTRY, *where, *arguments]

    def podman(self, store: Path, *arguments: str) -> list[str]:
        where = ["--root", f"{store}/g", "--runroot", f"{store}/r", "--storage-driver", "overlay"]
        how = ["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        return ["podman", *where, *how, "--tmpdir", f"{store}/t", *arguments]

    def store(self, name: str) -> Path:
        return self.directory / "stores" / name

    def remove_store(self, store: Path) -> None:
        unmount_tree(str(store))
        shutil.rmtree(store, ignore_errors=True)


@contextmanager
def own_place(work: Path | None) -> Iterator[Place]:
    """A place; a given ``work`` directory keeps its images for the next run."""
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")
    directory = work or memory / f"trilby-bench-{os.getpid()}"
    place = Place(directory)
    try:
        yield place
    finally:
        place.remove_store(directory / "stores")
        if work is None:
            unmount_tree(str(directory))
            shutil.rmtree(directory, ignore_errors=True)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    commit = _first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    return {
        "machine": f"{os.cpu_count()} x {model}, Linux {platform.release()}",
        "load average at the start": load,
        "trilby": f"commit {commit}, Python {platform.python_version()}",
        "peers": ", ".join(
            _first_line(*command)
            for command in (
                ("skopeo", "--version"),
                ("podman", "--version"),
                ("runc", "--version"),
                ("conmon", "--version"),
            )
        ),
    }


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except OSError:
        return f"no {command[0]}"
    return (done.stdout.strip() or "?").splitlines()[0]


def _containers_conf(networks: Path) -> str:
    # Limits that this process may not raise would be fatal; see the ulimits of podman.
    return (
        f'[network]\nnetwork_backend = "cni"\nnetwork_config_dir = "{networks}"\n'
        'cni_plugin_dirs = ["/usr/libexec/cni", "/opt/cni/bin", "/usr/lib/cni"]\n'
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
        '[engine]\nlock_type = "file"\n'
    )
