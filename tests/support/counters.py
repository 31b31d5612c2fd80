"""What a daemon and its pods hold of the machine, as numbers that can be compared over time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.pods import Place

CGROUPS = Path("/sys/fs/cgroup")
#: What grows by itself and is nobody's leak.
GROWING = ("trilbyd.log",)


def count(place: Place, pid: int) -> dict[str, int]:
    """By name; memory and sizes in KiB. ``pid`` is the daemon's."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    ours = [line for line in mounts if f" {place.root}/" in line]
    daemons = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    files = list(_files(place.root))
    status = _status(pid)
    return {
        "RSS": int(status["VmRSS"].split()[0]),
        "fds": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
        "processes": sum(1 for _ in _processes(place, pid)),
        "mounts": len(ours),
        "daemon's mounts": sum(f" {place.root}/" in line for line in daemons),
        "pinned namespaces": sum(" - nsfs " in line for line in ours),
        "cgroups": sum(1 for _ in _cgroups(place)),
        "bridge ports": len(_listed(f"/sys/class/net/{place.bridge}/brif")),
        "inotify watches": _watches(pid),
        "files": len(files),
        "size": sum(files) // 1024,
    }


def processes(place: Place, pid: int) -> list[str]:
    """What is counted as processes, one line each."""
    found = []
    for one in _processes(place, pid):
        try:
            words = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found.append(f"{one} {words or Path(f'/proc/{one}/stat').read_text()[:60]}")
        except OSError:
            continue  # it has ended meanwhile
    return found


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _processes(place: Place, daemon: int) -> Iterator[int]:
    """The daemon's children, ended ones that it has not reaped too, and all that name the place."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (daemon, os.getpid()):
            continue
        try:
            parent = int(_status(int(entry.name))["PPid"])
            words = (entry / "cmdline").read_bytes()
        except (OSError, KeyError):
            continue
        if parent == daemon or str(place.root).encode() in words:
            yield int(entry.name)


def _cgroups(place: Place) -> Iterator[Path]:
    """All below the place's parent, in every hierarchy."""
    for top in (CGROUPS, *CGROUPS.iterdir()):
        for folder, _, _ in os.walk(top / place.cgroup_parent.strip("/")):
            yield Path(folder)


def _watches(pid: int) -> int:
    found = 0
    for name in _listed(f"/proc/{pid}/fdinfo"):
        try:
            text = Path(f"/proc/{pid}/fdinfo/{name}").read_text()
        except OSError:
            continue
        found += sum(line.startswith("inotify ") for line in text.splitlines())
    return found


def _files(root: Path) -> Iterator[int]:
    """Sizes of everything below the roots."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            if name not in GROWING:
                try:
                    yield os.lstat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    continue


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
