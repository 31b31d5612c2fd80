"""Which file of a Debian tree goes into which RPM, and where Fedora has it."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
from tests.support.standin_definition import Definition
from tests.support.standin_dpkg import Package, packages, usr_merged

__all__ = ["Cut", "Entry", "Part", "cut"]

#: The other folders of / are as empty in a package as on a new machine.
ENTERED = ("/etc", "/usr", "/var")
#: Mounted while a package manager works: RPM does not touch them.
MOUNTED = ("/proc", "/sys", "/dev")
#: A folder that more packages have is everybody's.
SHARED = 4


class Entry(msgspec.Struct, frozen=True):
    """A file, link or folder of an RPM. ``source`` is where its content is, "" for a folder."""

    path: str
    mode: int
    user: str = "root"
    group: str = "root"
    source: str = ""
    target: str = ""
    config: bool = False

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


class Part(msgspec.Struct):
    """What is known of one RPM: Debian's packages, or another's version, and the files."""

    sources: list[Package] = []
    entries: dict[str, Entry] = {}
    version: str = ""


class Cut(msgspec.Struct, frozen=True):
    """The RPMs by name, and the files that no package of Debian's has."""

    parts: dict[str, Part]
    made_by_scripts: list[str]


def cut(tree: Path, wanted: Definition) -> Cut:
    """Divide the tree; every file lands in one RPM or is left out on purpose."""
    return _Cutter(tree, wanted).run()


class _Cutter:
    def __init__(self, tree: Path, wanted: Definition) -> None:
        self.tree = str(tree)
        self.leave = re.compile("|".join(f"(?:{pattern})" for pattern in wanted.leave))
        self.belongs = wanted.belongs
        self.moves = wanted.moved
        self.debian = packages(tree)
        self.dropped = set(wanted.drop)
        self.parts: dict[str, Part] = defaultdict(Part)
        self.rpm_of = self._names(wanted)
        self.owner: dict[str, str] = {}
        self.folders: dict[str, set[str]] = defaultdict(set)
        self.configs: set[str] = set()
        self.users = _numbers(tree / "etc/passwd")
        self.groups = _numbers(tree / "etc/group")
        self.made_by_scripts: list[str] = []

    def run(self) -> Cut:
        for package in self.debian.values():
            self._take_list(package)
        for path in self._walk():
            self._place(path)
        return Cut(parts=dict(self.parts), made_by_scripts=self.made_by_scripts)

    def _names(self, wanted: Definition) -> dict[str, str]:
        named = {deb: rpm for rpm, name in wanted.names.items() for deb in name.sources}
        names = {deb: named.get(deb, deb) for deb in self.debian if deb not in self.dropped}
        for rpm, name in wanted.names.items():
            part = self.parts[rpm]
            part.sources += [self.debian[deb] for deb in name.sources if deb in self.debian]
        for deb, rpm in names.items():
            if deb not in named:
                self.parts[rpm].sources.append(self.debian[deb])
        return names

    def _take_list(self, package: Package) -> None:
        """Files of dropped packages have an owner, too: none."""
        rpm = self.rpm_of.get(package.name, "")
        self.configs |= package.configs
        for path in package.files:
            if os.path.isdir(self.tree + path) and not os.path.islink(self.tree + path):
                self.folders[path].add(rpm)
            else:
                self.owner[path] = rpm

    def _walk(self) -> Iterator[str]:
        for name in sorted(os.listdir(self.tree)):
            if f"/{name}" in self.folders or os.path.islink(f"{self.tree}/{name}"):
                yield f"/{name}"
        for top in ENTERED:
            yield from self._below(top)

    def _below(self, folder: str) -> Iterator[str]:
        with os.scandir(self.tree + folder) as listed:
            found = sorted(listed, key=lambda item: item.name)
        for item in found:
            path = f"{folder}/{item.name}"
            if self.leave.fullmatch(path):
                continue
            yield path
            if item.is_dir(follow_symlinks=False):
                yield from self._below(path)

    def _place(self, path: str) -> None:
        state = os.lstat(self.tree + path)
        new = self._moved(path)
        if stat.S_ISDIR(state.st_mode):
            # A folder of dropped packages alone is made by whoever has something in it.
            for rpm in self._folder_owners(path):
                self._add(rpm, self._entry(path, new, state))
            return
        rpm = self.owner[path] if path in self.owner else self._adopt(path)
        if not rpm:
            return
        if stat.S_ISLNK(state.st_mode):
            self._add_link(rpm, path, new, state)
        elif stat.S_ISREG(state.st_mode):
            self._add(rpm, self._entry(path, new, state, source=self.tree + path))

    def _folder_owners(self, path: str) -> list[str]:
        owners = self.folders.get(path)
        if owners is None or "filesystem" in owners or len(owners) > SHARED:
            return ["filesystem"]
        return sorted(owners - {""})

    def _adopt(self, path: str) -> str:
        """Who gets a file that a script of Debian's made."""
        compiled = re.fullmatch(r"(.*)/__pycache__/([^/.]+)\.cpython-\d+(\.opt-\d)?\.pyc", path)
        if compiled:
            return self.owner.get(f"{compiled[1]}/{compiled[2]}.py", "")
        self.made_by_scripts.append(path)
        for prefix, rpm in self.belongs.items():
            if path.startswith(prefix):
                return rpm
        if os.path.islink(self.tree + path):
            owner = self.owner.get(self._end(path))
            if owner is not None:
                return owner
        return "setup" if path.startswith("/etc/") else "filesystem"

    def _end(self, path: str) -> str:
        """What a link leads to, inside the tree."""
        for _ in range(20):
            if not os.path.islink(self.tree + path):
                break
            target = os.readlink(self.tree + path)
            path = usr_merged(os.path.normpath(os.path.join(os.path.dirname(path), target)))
        return path

    def _add_link(self, rpm: str, path: str, new: str, state: os.stat_result) -> None:
        """Debian's choices of alternatives are ours; links follow what has moved."""
        target = os.readlink(self.tree + path)
        whole = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if whole.startswith("/etc/alternatives/"):
            whole = self._end(path)
        goal = self._moved(whole)
        if goal == new:
            return
        if goal != whole or new != path or target.startswith("/etc/alternatives/"):
            target = os.path.relpath(goal, os.path.dirname(new))
        entry = Entry(path=new, mode=state.st_mode, target=target, source=self.tree + path)
        self._add(rpm, entry)

    def _entry(self, path: str, new: str, state: os.stat_result, source: str = "") -> Entry:
        mode = state.st_mode
        if re.search(r"\.so(\.|$)", new) and source:
            mode |= 0o755  # as Fedora's; RPM looks for sonames in programs only
        script = path in self.made_by_scripts and path.startswith("/etc/")
        return Entry(
            path=new,
            mode=mode,
            user=self.users[state.st_uid],
            group=self.groups[state.st_gid],
            source=source,
            config=bool(source) and (path in self.configs or script),
        )

    def _add(self, rpm: str, entry: Entry) -> None:
        known = self.parts[rpm].entries
        if entry.path not in known or not entry.target:
            known[entry.path] = entry

    def _moved(self, path: str) -> str:
        for old, new in self.moves.items():
            if path == old or path.startswith(old + "/"):
                return new + path[len(old) :]
        return path


def _numbers(table: Path) -> dict[int, str]:
    lines = (line.split(":") for line in table.read_text().splitlines())
    found: dict[int, str] = {}
    for fields in lines:
        found.setdefault(int(fields[2]), fields[0])
    return found
