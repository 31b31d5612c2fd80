"""A pod's own directory: its manifest, its volumes, its logs, and who runs it.

``<root>/pods/<uid>`` outlives a reboot; ``<run root>/e/<uid>`` does not. The manifest is written
before anything else of the pod is made, so that whatever is left behind has a name.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TypeVar

import msgspec

from trilby.pods.embedded.errors import PodRunning
from trilby.pods.errors import StateCorrupt
from trilby.pods.manifest import schema
from trilby.system.files import Fd, atomic_write

T = TypeVar("T", bound=msgspec.Struct)


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``pod.json``: the manifest as it was read, its file's name, and when (seconds)."""

    uid: str
    source: str
    created: float
    pod: schema.Pod


class ContainerNote(msgspec.Struct, frozen=True, kw_only=True):
    """What only the runner knows of a container."""

    ready: bool = False
    restarts: int = 0
    waiting: str = ""  # why it does not run, such as CrashLoopBackOff


class RunnerNote(msgspec.Struct, frozen=True, kw_only=True):
    """``status.json``: what the runner last saw; ``phase`` is Kubernetes' pod phase."""

    phase: str
    reason: str = ""
    containers: dict[str, ContainerNote] = {}


class StopRequest(msgspec.Struct, frozen=True):
    """``stop.json``: how much grace another process wants the runner to give."""

    grace: float


class PodFolder:
    """Paths of one pod; making and reading them, and removing them with what is mounted there."""

    def __init__(self, root: str, run_root: str, uid: str) -> None:
        self.uid = uid
        self.path = f"{root}/pods/{uid}"
        self.run = f"{run_root}/e/{uid}"
        self.logs = f"{self.path}/logs"

    def create(self, record: PodRecord) -> None:
        """Make the directory, the manifest first."""
        for path in (self.path, self.run, self.logs):
            os.makedirs(path, mode=0o700, exist_ok=True)
        # Containers that do not run as root go through it to their volumes.
        os.chmod(self.path, 0o711)
        atomic_write(f"{self.path}/pod.json", msgspec.json.encode(record), 0o600)

    def record(self) -> PodRecord | None:
        """The manifest; None if there is none (a pod of another kind). Raises StateCorrupt."""
        return _load(f"{self.path}/pod.json", PodRecord)

    def note(self) -> RunnerNote | None:
        """What the runner last saw, if one is alive."""
        return _load(f"{self.run}/status.json", RunnerNote) if self.runner() else None

    def write_note(self, note: RunnerNote) -> None:
        data = msgspec.json.encode(note)
        atomic_write(f"{self.run}/status.json", data, 0o600, fsync=False)

    def claim(self) -> Fd:
        """Be the pod's runner for as long as the descriptor is open.

        Raises:
            PodRunning: another process is.
        """
        os.makedirs(self.run, mode=0o700, exist_ok=True)
        lock = Fd.open(f"{self.run}/runner", os.O_RDWR | os.O_CREAT, 0o600)
        while not _locked(lock):
            # Who only looks holds the lock for a moment, and is no runner.
            if holder := self.runner():
                lock.close()
                raise PodRunning(f"pod {self.uid} is being run by process {holder}")
        os.ftruncate(lock.number, 0)
        os.pwrite(lock.number, str(os.getpid()).encode(), 0)
        for name in ("stop.json", "status.json"):
            _unlink(f"{self.run}/{name}")
        return lock

    def runner(self) -> int:
        """The process that runs the pod, 0 if none does."""
        try:
            lock = Fd.open(f"{self.run}/runner", os.O_RDONLY)
        except FileNotFoundError:
            return 0
        with lock:
            try:
                fcntl.flock(lock.number, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    raise
                return int(os.pread(lock.number, 20, 0) or b"0")
        return 0

    def request_stop(self, grace: float) -> None:
        """Leave word for the runner, who reads it when it gets SIGTERM."""
        data = msgspec.json.encode(StopRequest(grace))
        atomic_write(f"{self.run}/stop.json", data, 0o600, fsync=False)

    def requested_grace(self) -> float | None:
        request = _load(f"{self.run}/stop.json", StopRequest)
        return request.grace if request else None

    def termination_log(self, container: str, attempt: int) -> str:
        return f"{self.path}/containers/{container}/{attempt}.termination"

    def remove(self) -> None:
        """Unmount the pod's volumes and remove all its files."""
        from trilby.system.files import remove_tree
        from trilby.system.mount_table import unmount_tree

        for path in (self.path, self.run):
            if os.path.isdir(path):
                unmount_tree(path)
                remove_tree(path)


def folders(root: str, run_root: str) -> list[PodFolder]:
    """Every pod's folder."""
    try:
        names = os.listdir(f"{root}/pods")
    except FileNotFoundError:
        return []
    return [PodFolder(root, run_root, name) for name in sorted(names)]


def _load(path: str, kind: type[T]) -> T | None:
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StateCorrupt(f"reading {path}: {error}", hint="remove the pod by force") from error


def _locked(lock: Fd) -> bool:
    try:
        fcntl.flock(lock.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
