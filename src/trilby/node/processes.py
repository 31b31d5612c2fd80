"""Processes and systemd's units of the host, by /proc and the files that systemd keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from trilby.node.host import Host

__all__ = ["Process", "Unit", "find", "main_process", "unit"]

UNIT_FOLDERS: Final = (
    *("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"),
    *("/usr/lib/systemd/system", "/lib/systemd/system"),
)
# Version 2, version 1 and both.
_CGROUPS: Final = (
    *("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"),
)  # fmt: skip


class Process(msgspec.Struct, frozen=True):
    """A process of the host with its command line."""

    pid: int
    argv: tuple[str, ...]


class Unit(msgspec.Struct, frozen=True):
    """A unit: its file, where it is enabled ("" if not), and whether it has processes now."""

    name: str
    file: str
    enabled: str
    active: bool


def find(host: Host, name: str) -> list[Process]:
    """Processes whose program is called so, the lowest number first; looked for once."""
    if name not in host.processes:
        host.processes[name] = _find(host, name)
    return host.processes[name]


def _find(host: Host, name: str) -> list[Process]:
    found = []
    for pid in sorted(int(each) for each in host.names("/proc") if each.isdigit()):
        try:
            if host.word(f"/proc/{pid}/comm") != name[:15] or _nested(host, pid):
                continue
            words = (host.read(f"/proc/{pid}/cmdline") or "").rstrip("\0").split("\0")
        except OSError:
            continue  # it ended meanwhile
        found.append(Process(pid, tuple(words)))
    return found


def _nested(host: Host, pid: int) -> bool:
    """Whether it is in a process namespace of its own: a container's, or another host's."""
    for _, line in host.lines(f"/proc/{pid}/status"):
        if line.startswith("NSpid:"):
            return len(line.split()) > 2
    return False


def main_process(host: Host, service: str, name: str) -> int:
    """The process ``name`` of a service, 0 if there is none."""
    of_unit = {int(each) for top in _CGROUPS for each in host.word(_procs(top, service)).split()}
    return next((each.pid for each in find(host, name) if each.pid in of_unit), 0)


def unit(host: Host, name: str) -> Unit:
    """What systemd's directories say of a service."""
    file = next((f"{folder}/{name}" for folder in UNIT_FOLDERS if _is(host, folder, name)), "")
    active = any(host.word(_procs(top, name)) for top in _CGROUPS)
    return Unit(name, file, _enabled(host, name), active)


def _procs(top: str, service: str) -> str:
    return f"{top}/system.slice/{service}/cgroup.procs"


def _is(host: Host, folder: str, name: str) -> bool:
    return host.exists(f"{folder}/{name}")


def _enabled(host: Host, name: str) -> str:
    for folder in UNIT_FOLDERS:
        for wants in host.names(folder):
            if wants.endswith((".wants", ".requires")) and _is(host, f"{folder}/{wants}", name):
                return f"{folder}/{wants}/{name}"
    return ""
