"""Being told when the kernel kills in a cgroup for lack of memory, and when a cgroup empties.

Version 1 signals an eventfd that was registered in cgroup.event_control; version 2 changes
memory.events and cgroup.events, which inotify sees.
"""

from __future__ import annotations

import os
from types import TracebackType

from trilby.system.cgroup_mounts import Hierarchies
from trilby.system.cgroups import Cgroup
from trilby.system.errors import CgroupFailed
from trilby.system.events import IN_DELETE, IN_MODIFY, EventFd, Inotify, wait_readable
from trilby.system.files import Fd


class OomWatch:
    """Watches one cgroup for memory kills from construction on; raises CgroupFailed."""

    def __init__(self, cgroup: Cgroup) -> None:
        self._cgroup = cgroup
        self._inotify: Inotify | None = None
        self._event: EventFd | None = None
        folder = cgroup.hierarchies.directory("memory", cgroup.path)
        try:
            if cgroup.hierarchies.unified:
                self._inotify = Inotify([f"{folder}/memory.events"], IN_MODIFY)
                # In a cgroup file system only the parent tells that something was removed.
                self._inotify.add(os.path.dirname(folder), IN_DELETE)
            else:
                self._event = _register_v1(folder)
        except OSError as error:
            raise CgroupFailed(
                f"watching cgroup {cgroup.path} for memory kills: {error}"
            ) from error
        self.seen = self.count()

    def count(self) -> int:
        """How many processes were killed in it so far; the last known number when it is gone."""
        hierarchies = self._cgroup.hierarchies
        name = "memory.events" if hierarchies.unified else "memory.oom_control"
        try:
            for line in self._cgroup.read("memory", name).splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
        except CgroupFailed:
            pass
        return getattr(self, "seen", 0)

    async def wait(self) -> int:
        """Wait for the next kills, or the cgroup's removal.

        Returns how many kills are new, at least, or 0 when the cgroup is removed. A version 1
        cgroup that is removed right after a kill may be told as removed only.
        """
        while True:
            new = self.count() - self.seen
            if new > 0 or not self._cgroup.exists():
                self.seen += new
                return new
            if self._event:
                await self._event.wait()
                if self._cgroup.exists():
                    # Version 1 tells before it counts: do not wait for a second signal.
                    new = max(self.count() - self.seen, 1)
                    self.seen += new
                    return new
            elif self._inotify:
                await wait_readable(self._inotify.fileno())
                self._inotify.read_now()

    def close(self) -> None:
        """Stop watching."""
        if self._event:
            self._event.close()
        if self._inotify:
            self._inotify.close()

    def __enter__(self) -> OomWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


async def wait_empty(cgroup: Cgroup) -> None:
    """Wait until no process is left in a version 2 cgroup and below; CgroupFailed on version 1."""
    if not cgroup.hierarchies.unified:
        raise CgroupFailed(f"waiting for cgroup {cgroup.path}: version 1 tells nobody")
    folder = cgroup.hierarchies.v2 + cgroup.path
    try:
        with Inotify([f"{folder}/cgroup.events"], IN_MODIFY) as inotify:
            while "populated 1" in cgroup.read("", "cgroup.events"):
                await wait_readable(inotify.fileno())
                inotify.read_now()
    except (FileNotFoundError, CgroupFailed):
        return


def supports_wait_empty(hierarchies: Hierarchies) -> bool:
    """Whether wait_empty() works here."""
    return hierarchies.unified


def _register_v1(folder: str) -> EventFd:
    event = EventFd()
    try:
        with Fd.open(f"{folder}/memory.oom_control", os.O_RDONLY) as control:
            line = f"{event.fileno()} {control.number}"
            with Fd.open(f"{folder}/cgroup.event_control", os.O_WRONLY) as registration:
                os.write(registration.number, line.encode())
    except BaseException:
        event.close()
        raise
    return event
