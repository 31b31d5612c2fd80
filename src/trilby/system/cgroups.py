"""One cgroup by its absolute path, on version 1 and version 2 hosts alike.

Paths count from the root of the hierarchies, never from this process' own place: its controllers
may be in different ones.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Final

from trilby.system.cgroup_mounts import Hierarchies, detect, membership
from trilby.system.cgroup_slices import expand_slice, slice_path
from trilby.system.errors import CgroupFailed
from trilby.system.files import Fd

if TYPE_CHECKING:
    from trilby.system.cgroup_stats import CgroupStats

__all__ = ["Cgroup", "Hierarchies", "detect", "expand_slice", "membership", "slice_path"]

_KILL_SECONDS: Final = 10.0
_REMOVE_ATTEMPTS: Final = 50
_REMOVE_PAUSE_SECONDS: Final = 0.002
_CPUSET_FILES: Final = ("cpuset.cpus", "cpuset.mems")


class Cgroup:
    """The cgroup ``path`` ("/trilby/pod1") in every hierarchy; making the object changes nothing.

    Methods raise CgroupFailed.
    """

    def __init__(self, path: str, hierarchies: Hierarchies | None = None) -> None:
        if not path.startswith("/") or "/../" in f"{path}/" or "\0" in path:
            raise CgroupFailed(f"cgroup {path!r}: the path must be absolute")
        self.path = "/" + path.strip("/")
        self.hierarchies = hierarchies or detect()

    def __truediv__(self, name: str) -> Cgroup:
        return Cgroup(f"{self.path.rstrip('/')}/{name}", self.hierarchies)

    @property
    def parent(self) -> Cgroup:
        """The cgroup above; the root's is the root."""
        return Cgroup(os.path.dirname(self.path), self.hierarchies)

    def exists(self) -> bool:
        """Whether it exists in any hierarchy."""
        return any(os.path.isdir(folder) for folder in self._folders())

    def create(self) -> None:
        """Make it, with its parents, ready to take processes; one that exists is fine."""
        try:
            if self.hierarchies.unified:
                self._create_v2()
            else:
                self._create_v1()
        except OSError as error:
            raise CgroupFailed(f"making cgroup {self.path}: {error}") from error

    def attach(self, pid: int) -> None:
        """Move a process into it, in every hierarchy; 0 is the calling process."""
        for folder in self._folders():
            try:
                _write(f"{folder}/cgroup.procs", str(pid))
            except OSError as error:
                raise CgroupFailed(
                    f"moving process {pid} to cgroup {self.path}: {error.strerror} ({folder})"
                ) from error

    def pids(self, *, recursive: bool = True) -> set[int]:
        """The processes in it, and in those below."""
        found: set[int] = set()
        for folder in self._folders():
            for place in _walk(folder) if recursive else [folder]:
                try:
                    found.update(map(int, _read(f"{place}/cgroup.procs").split()))
                except OSError as error:
                    # ENODEV: removed between opening and reading.
                    if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                        raise CgroupFailed(f"reading cgroup {self.path}: {error}") from error
        # Version 1 lists processes of other process namespaces as 0.
        return found - {0}

    def kill_all(self, timeout: float = _KILL_SECONDS) -> None:
        """Kill all processes in it and below, and wait until they are gone.

        CgroupFailed when some are left after ``timeout`` s (a process in an uninterruptible call).
        """
        deadline = time.monotonic() + timeout
        while pids := self.pids():
            # Fork bombs: version 2 kills all at once, version 1 must hold them still meanwhile.
            pidfds = _open_pidfds(pids)
            if not (self.hierarchies.unified and self._try_write("", "cgroup.kill", "1")):
                pidfds += self._kill_frozen(pids)
            _wait_all(pidfds, deadline)
            if time.monotonic() >= deadline and (left := self.pids()):
                raise CgroupFailed(f"killing cgroup {self.path}: {sorted(left)} did not end")

    def _kill_frozen(self, known: set[int]) -> list[Fd]:
        self.freeze(True)
        try:
            pids = self.pids()
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return _open_pidfds(pids - known)
        finally:
            self.freeze(False)

    def freeze(self, frozen: bool) -> None:
        """Stop or continue all processes in it; not waited for. Nothing without a freezer."""
        if self.hierarchies.unified:
            self._try_write("", "cgroup.freeze", str(int(frozen)))
        elif "freezer" in self.hierarchies.v1:
            self._try_write("freezer", "freezer.state", "FROZEN" if frozen else "THAWED")

    def remove(self) -> None:
        """Remove it and those below; missing is fine. CgroupFailed when processes are in it."""
        if self.path == "/":
            raise CgroupFailed("removing cgroup /: the root and all in it are not ours")
        for folder in self._folders():
            for place in reversed(_walk(folder)):
                try:
                    self._remove_directory(place)
                except OSError as error:
                    inside = sorted(self.pids())
                    raise CgroupFailed(
                        f"removing cgroup {self.path}: {error.strerror}"
                        + (f", processes {inside} are in it" if inside else f" ({place})")
                    ) from error

    def _remove_directory(self, folder: str) -> None:
        for _ in range(_REMOVE_ATTEMPTS):
            try:
                os.rmdir(folder)
                return
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.EBUSY or self.pids():
                    raise
                # The last process is gone from the list a moment before it lets go of the cgroup.
                time.sleep(_REMOVE_PAUSE_SECONDS)
        os.rmdir(folder)

    def remove_if_empty(self) -> bool:
        """Remove it unless there are processes or cgroups in it; True when it is gone."""
        gone = True
        for folder in self._folders():
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone

    def read(self, controller: str, name: str) -> str:
        """The content of a file of ``controller`` ("" for version 2's own), without line end."""
        path = f"{self.hierarchies.directory(controller, self.path)}/{name}"
        try:
            return _read(path).decode().rstrip("\n")
        except OSError as error:
            raise CgroupFailed(f"reading {path}: {error.strerror}") from error

    def write(self, controller: str, name: str, value: str) -> None:
        """Write a file of ``controller``."""
        path = f"{self.hierarchies.directory(controller, self.path)}/{name}"
        try:
            _write(path, value)
        except OSError as error:
            raise CgroupFailed(f"writing {value!r} to {path}: {error.strerror}") from error

    def stats(self) -> CgroupStats:
        """Usage now; see cgroup_stats.read_stats."""
        from trilby.system.cgroup_stats import read_stats

        return read_stats(self.hierarchies, self.path)

    def __repr__(self) -> str:
        return f"Cgroup({self.path!r})"

    def _folders(self) -> list[str]:
        return self.hierarchies.directories(self.path)

    def _try_write(self, controller: str, name: str, value: str) -> bool:
        try:
            self.write(controller, name, value)
            return True
        except CgroupFailed:
            return False

    def _create_v1(self) -> None:
        cpuset = self.hierarchies.v1.get("cpuset")
        for top in dict.fromkeys(self.hierarchies.v1.values()):
            place = top
            for name in self.path.strip("/").split("/"):
                above, place = place, f"{place}/{name}"
                _make(place)
                if top == cpuset:
                    _inherit_cpuset(above, place)

    def _create_v2(self) -> None:
        place = self.hierarchies.v2
        for name in self.path.strip("/").split("/"):
            above, place = place, f"{place}/{name}"
            enabled = set(_read(f"{above}/cgroup.subtree_control").decode().split())
            offered = _read(f"{above}/cgroup.controllers").decode().split()
            _make(place)
            for controller in offered:
                if controller not in enabled:
                    try:
                        _write(f"{above}/cgroup.subtree_control", f"+{controller}")
                    except OSError:
                        # One that cannot be had (cpu with realtime processes) is missed when used.
                        continue


def _walk(folder: str) -> list[str]:
    """A cgroup's directory and those below it, parents first; empty when it is missing."""
    found = []
    todo = [folder]
    while todo:
        place = todo.pop()
        try:
            with os.scandir(place) as entries:
                todo += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            continue
        found.append(place)
    return found


def _make(folder: str) -> None:
    try:
        os.mkdir(folder, 0o755)
    except FileExistsError:
        pass


def _inherit_cpuset(above: str, place: str) -> None:
    """A version 1 cpuset is born empty and takes no process until it has processors and memory."""
    for name in _CPUSET_FILES:
        if not _read(f"{place}/{name}").strip():
            _write(f"{place}/{name}", _read(f"{above}/{name}").decode().strip())


def _open_pidfds(pids: set[int]) -> list[Fd]:
    pidfds = []
    for pid in pids:
        try:
            pidfds.append(Fd(os.pidfd_open(pid)))
        except ProcessLookupError:
            continue
    return pidfds


def _wait_all(pidfds: list[Fd], deadline: float) -> None:
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd.number, select.POLLIN)
    left = len(pidfds)
    while left and (seconds := deadline - time.monotonic()) > 0:
        for number, _ in poll.poll(seconds * 1000):
            poll.unregister(number)
            left -= 1
    for pidfd in pidfds:
        pidfd.close()


def _read(path: str) -> bytes:
    with Fd.open(path, os.O_RDONLY) as fd:
        data = os.read(fd.number, 1 << 16)
        while len(data) % 4096 == 0 and data and (more := os.read(fd.number, 1 << 16)):
            data += more
        return data


def _write(path: str, value: str) -> None:
    with Fd.open(path, os.O_WRONLY) as fd:
        os.write(fd.number, value.encode())
