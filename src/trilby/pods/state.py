"""What the engine keeps on disk of sandboxes and containers, and where.

::

    <root>/names/<hash>                    symbolic link: a reserved name -> an id
    <root>/sandboxes/<id>/sandbox.json     SandboxRecord: written once, renamed to be removed
    <root>/sandboxes/<id>/journal          what was made outside, before it was made
    <root>/sandboxes/<id>/<container id>/  container.json, journal; conmon's exit and oom files
    <run root>/locks/<id>                  one lock per sandbox and per container
    <run root>/p/<id>/                     state.json (SandboxLive), ns/, shm/, resolv.conf, ...
    <run root>/c/<container id>/           the bundle: config.json, state.json (ContainerLive)...
    <run root>/exits/<container id>        conmon's exit code; modified when the container ended
    <run root>/x/                          one directory per exec that is being started

Records are immutable; what changes is in the two ``state.json``, which do not outlive a reboot.
All files are replaced atomically, so readers need no locks. Nothing is flushed to the disk: after
a power failure no process of a pod lives, and a record that is not whole is undone like any other.
"""

from __future__ import annotations

import os
import re
from hashlib import sha256
from typing import Final, TypeVar

import msgspec

from trilby.pods.errors import ContainerNotFound, SandboxNotFound, StateCorrupt
from trilby.pods.model_common import Resources
from trilby.pods.model_container import ContainerConfig
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.model_status import ContainerUser
from trilby.system.files import atomic_write, read_file

CREATING: Final = "creating"
READY: Final = "ready"
STOPPED: Final = "stopped"
CREATED: Final = "created"
STARTING: Final = "starting"
RUNNING: Final = "running"
FAILED: Final = "failed"

#: Of so many containers it is remembered whose they are.
FOUND: Final = 2000

# What a record is renamed to when its removal begins.
REMOVED: Final = "removed.json"

# Asked of every name in a directory with all sandboxes, at every list after a change.
_ID: Final = re.compile("[0-9a-f]{64}")

T = TypeVar("T")


class SandboxRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox as asked for and as decided: never changes. ``hostname`` is the one in effect."""

    id: str
    full_name: str
    config: SandboxConfig
    created_at: int
    handler: str
    hostname: str
    cgroup: str
    own_cgroup: bool
    log_directory: str


class SandboxLive(msgspec.Struct, frozen=True, kw_only=True):
    """What changes: ``phase`` is creating, ready or stopped."""

    phase: str
    ips: tuple[str, ...] = ()
    network_detached: bool = False
    infra_pid: int = 0
    infra_start: int = 0
    reason: str = ""
    message: str = ""
    overhead: Resources | None = None  # after update_sandbox_resources
    resources: Resources | None = None


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A container as asked for and as decided: never changes."""

    id: str
    sandbox_id: str
    full_name: str
    config: ContainerConfig
    created_at: int
    handler: str
    log_path: str
    cgroup: str
    image_id: str = ""
    image_ref: str = ""
    stop_signal: str = "SIGTERM"
    user: ContainerUser | None = None
    warnings: tuple[str, ...] = ()
    # Its first process is not pid 1 of a namespace of its own: killing that leaves others alive.
    shares_pids: bool = False


class ContainerLive(msgspec.Struct, frozen=True, kw_only=True):
    """What changes: ``phase`` is creating, created, starting, running or failed.

    ``pid_start`` and ``monitor_start`` are start times from /proc, against reused numbers.
    """

    phase: str
    pid: int = 0
    pid_start: int = 0
    monitor_pid: int = 0
    monitor_start: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int | None = None
    message: str = ""
    hint: str = ""
    config: ContainerConfig | None = None  # after update_resources


class Layout:
    """Paths below the two roots, and reading and writing what is in them."""

    def __init__(self, root: str, run_root: str) -> None:
        self.root = root
        self.run_root = run_root
        self.names = f"{root}/names"
        self.sandboxes = f"{root}/sandboxes"
        self.exits = f"{run_root}/exits"
        self.locks = f"{run_root}/locks"
        self.execs = f"{run_root}/x"
        self._found: dict[str, str] = {}

    def make(self) -> None:
        """Make the directories that everything else is in."""
        for path in (self.names, self.sandboxes, self.exits, self.locks, self.execs):
            os.makedirs(path, mode=0o700, exist_ok=True)
        for kind in ("p", "c"):
            os.makedirs(f"{self.run_root}/{kind}", mode=0o711, exist_ok=True)

    def name_link(self, full_name: str) -> str:
        """The link that reserves a name; names can be longer than a file's may be."""
        return f"{self.names}/{sha256(full_name.encode()).hexdigest()[:40]}"

    def lock(self, some_id: str) -> str:
        return f"{self.locks}/{some_id}"

    def sandbox_dir(self, sandbox_id: str) -> str:
        return f"{self.sandboxes}/{sandbox_id}"

    def sandbox_run(self, sandbox_id: str) -> str:
        return f"{self.run_root}/p/{sandbox_id}"

    def container_dir(self, sandbox_id: str, container_id: str) -> str:
        return f"{self.sandboxes}/{sandbox_id}/{container_id}"

    def bundle(self, container_id: str) -> str:
        return f"{self.run_root}/c/{container_id}"

    def exit_file(self, container_id: str) -> str:
        return f"{self.exits}/{container_id}"

    # Which there are

    def sandbox_ids(self) -> list[str]:
        return [name for name in _listdir(self.sandboxes) if is_id(name)]

    def container_ids(self, sandbox_id: str) -> list[str]:
        return [name for name in _listdir(self.sandbox_dir(sandbox_id)) if is_id(name)]

    def find_sandbox(self, prefix: str) -> str:
        """The id that begins with ``prefix``. Raises SandboxNotFound."""
        if is_id(prefix) and os.path.isdir(self.sandbox_dir(prefix)):
            return prefix
        found = [some for some in self.sandbox_ids() if prefix and some.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        problem = "is ambiguous" if found else "does not exist"
        raise SandboxNotFound(f"sandbox {prefix} {problem}", hint="trilby pod ps shows them all")

    def find_container(self, prefix: str) -> tuple[str, str]:
        """Sandbox id and id of the container whose id begins so. Raises ContainerNotFound."""
        # Where it was last time, it still is, or nowhere: no need to look into each sandbox.
        before = self._found.get(prefix)
        if before and os.path.isdir(self.container_dir(before, prefix)):
            return before, prefix
        found = []
        for sandbox_id in self.sandbox_ids():
            if is_id(prefix):
                if os.path.isdir(self.container_dir(sandbox_id, prefix)):
                    self._remember(prefix, sandbox_id)
                    return sandbox_id, prefix
                continue
            ids = self.container_ids(sandbox_id) if prefix else []
            found += [(sandbox_id, some) for some in ids if some.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        problem = "is ambiguous" if found else "does not exist"
        raise ContainerNotFound(f"container {prefix} {problem}")

    def _remember(self, container_id: str, sandbox_id: str) -> None:
        if len(self._found) >= FOUND:
            self._found.clear()
        self._found[container_id] = sandbox_id

    # Records

    def load_sandbox(self, sandbox_id: str) -> SandboxRecord:
        path = f"{self.sandbox_dir(sandbox_id)}/sandbox.json"
        record = load(path, SandboxRecord)
        if record is None:
            raise SandboxNotFound(f"sandbox {sandbox_id} does not exist")
        return record

    def load_removed_sandbox(self, sandbox_id: str) -> SandboxRecord | None:
        """The record of a sandbox that is being removed."""
        return load(f"{self.sandbox_dir(sandbox_id)}/{REMOVED}", SandboxRecord)

    def hide_sandbox(self, sandbox_id: str) -> None:
        """The first step of a removal, and its point of no return: nobody sees it from here on."""
        directory = self.sandbox_dir(sandbox_id)
        _rename(f"{directory}/sandbox.json", f"{directory}/{REMOVED}")

    def hide_container(self, sandbox_id: str, container_id: str) -> None:
        """As hide_sandbox."""
        directory = self.container_dir(sandbox_id, container_id)
        _rename(f"{directory}/container.json", f"{directory}/{REMOVED}")

    def save_sandbox(self, record: SandboxRecord) -> None:
        save(f"{self.sandbox_dir(record.id)}/sandbox.json", record)

    def load_sandbox_live(self, sandbox_id: str) -> SandboxLive | None:
        """None after a reboot."""
        return load(f"{self.sandbox_run(sandbox_id)}/state.json", SandboxLive)

    def save_sandbox_live(self, sandbox_id: str, live: SandboxLive) -> None:
        save(f"{self.sandbox_run(sandbox_id)}/state.json", live)

    def load_container(self, sandbox_id: str, container_id: str) -> ContainerRecord:
        path = f"{self.container_dir(sandbox_id, container_id)}/container.json"
        record = load(path, ContainerRecord)
        if record is None:
            raise ContainerNotFound(f"container {container_id} does not exist")
        return record

    def save_container(self, record: ContainerRecord) -> None:
        self._remember(record.id, record.sandbox_id)
        save(f"{self.container_dir(record.sandbox_id, record.id)}/container.json", record)

    def load_container_live(self, container_id: str) -> ContainerLive | None:
        """None after a reboot."""
        return load(f"{self.bundle(container_id)}/state.json", ContainerLive)

    def save_container_live(self, container_id: str, live: ContainerLive) -> None:
        save(f"{self.bundle(container_id)}/state.json", live)


def is_id(name: str) -> bool:
    """Whether it looks like an id: 64 lower-case hex digits."""
    return _ID.fullmatch(name) is not None


def new_id() -> str:
    return os.urandom(32).hex()


def load(path: str, kind: type[T]) -> T | None:
    """Read a state file; None if there is none. Raises StateCorrupt."""
    try:
        data = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateCorrupt(f"reading {path}: {error}", hint="remove the pod by force") from error


def save(path: str, value: msgspec.Struct) -> None:
    """Replace a state file; readers see the old one or the new one."""
    atomic_write(path, msgspec.json.encode(value), 0o600, fsync=False)


def _rename(old: str, new: str) -> None:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        pass  # an earlier removal was interrupted


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
