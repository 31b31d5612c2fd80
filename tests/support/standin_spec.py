"""What the stand-in's RPMs are called, need and provide: one source package that has them all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from tests.support.standin_cut import MOUNTED, Entry, Part
from tests.support.standin_definition import Definition
from tests.support.standin_dpkg import rpm_version

from trilby.rpm.prebuilt import Package, Prebuilt

__all__ = ["RELEASE", "prebuilt"]

#: The release of Fedora that Rawhide becomes.
RELEASE = "46"
#: In Fedora the first installation of systemd applies the presets, too.
FIRST = """\
if [ ! -e /etc/machine-id ]; then
    systemctl preset-all >/dev/null 2>&1
    systemd-machine-id-setup >/dev/null 2>&1
fi
:"""
#: What systemd's package does when others bring or take units and temporary files.
TRIGGERS = """\
%transfiletriggerin -P 1000900 -n systemd -- /usr/lib/systemd/system /etc/systemd/system
/usr/lib/systemd/systemd-update-helper system-reload-restart || :

%transfiletriggerpostun -P 1000100 -n systemd -- /usr/lib/systemd/system /etc/systemd/system
/usr/lib/systemd/systemd-update-helper system-reload || :

%transfiletriggerpostun -P 10000 -n systemd -- /usr/lib/systemd/system /etc/systemd/system
/usr/lib/systemd/systemd-update-helper system-restart || :

%transfiletriggerin -P 1000500 -n systemd -- /usr/lib/tmpfiles.d
systemd-tmpfiles --create >/dev/null 2>&1 || :
"""


def prebuilt(parts: dict[str, Part], wanted: Definition, stage: Path, lists: Path) -> Prebuilt:
    """The packages of all parts; ``lists`` gets a file with the names of each one's files."""
    rpm_of = {deb.name: rpm for rpm, part in parts.items() for deb in part.sources}
    stands_for = _stands_for(parts)
    lists.mkdir()
    packages = []
    for rpm, part in sorted(parts.items()):
        if rpm in wanted.made:
            package = _made(rpm, wanted)
        elif part.sources or part.version or rpm in wanted.names:
            package = _cut(rpm, part, wanted, tuple(_needs(rpm, part, rpm_of, stands_for)))
        else:
            raise ValueError(f"files/{rpm} is for a package that nothing else speaks of")
        packages.append(_listed(package, part.entries.values(), lists))
    return Prebuilt(
        name="rawhide-standin",
        version=RELEASE,
        release="0.standin",
        summary="Stand-in for the repository of Fedora Rawhide",
        license="various",
        packages=tuple(packages),
        macros={
            "dist": f".fc{RELEASE}",
            "__script_requires": "%{nil}",
            "_binary_payload": "w1.zstdio",
            "__python3": f"/usr/bin/python{wanted.python}",
        },
        brp="none",
        # The tree is there already, as rpmbuild wants it.
        install=f'rmdir "%{{buildroot}}"\nmv "{stage}" "%{{buildroot}}"',
    )


def _cut(rpm: str, part: Part, wanted: Definition, needs: tuple[str, ...]) -> Package:
    """A package out of Debian's."""
    provides = [f"deb({deb.name})" for deb in part.sources]
    if rpm in wanted.names:
        provides += map(_versioned, wanted.names[rpm].provides)
    if rpm == "setup":
        provides += _accounts(part.entries.values())
    first = rpm in ("setup", "filesystem")
    return Package(
        name=rpm,
        version=_version(part),
        summary=f"Stand-in for Fedora's {rpm}",
        provides=tuple(provides),
        requires=() if first else needs,
        # Users and groups, then the links of /, then the rest.
        requires_pre=() if rpm == "setup" else ("setup" if rpm == "filesystem" else "filesystem",),
        scriptlets={"posttrans": FIRST} if rpm == "systemd" else {},
        extra=TRIGGERS if rpm == "systemd" else "",
        automatic=not first,
    )


def _version(part: Part) -> str:
    if part.sources:
        return rpm_version(part.sources[0].version)
    return part.version or RELEASE


def _made(rpm: str, wanted: Definition) -> Package:
    made = wanted.made[rpm]
    return Package(
        name=rpm,
        version=made.version,
        summary=made.summary,
        provides=tuple(map(_versioned, made.provides)),
        requires=tuple(made.requires),
        requires_pre=("filesystem",),
    )


def _listed(package: Package, entries: Iterable[Entry], lists: Path) -> Package:
    text = "".join(f"{_line(entry)}\n" for entry in entries)
    if not text:
        return package
    (lists / package.name).write_text(text)
    return msgspec.structs.replace(package, list_file=str(lists / package.name))


def _versioned(name: str) -> str:
    return name + (" = %{version}-%{release}" if re.fullmatch(r"[\w.+-]+", name) else "")


def _line(entry: Entry) -> str:
    path = entry.path.replace("%", "%%")
    if re.search(r"[\s\[\]*?{}]", path):
        path = f'"{path}"'
    if entry.target:
        return path
    words = [f"%attr({entry.mode & 0o7777:04o},{entry.user},{entry.group})", path]
    if entry.is_folder:
        words.insert(0, "%dir")
    if entry.path in MOUNTED:
        words.insert(0, "%ghost")
    if entry.config:
        words.insert(0, "%config(noreplace)")
    return " ".join(words)


def _stands_for(parts: dict[str, Part]) -> dict[str, str]:
    """Debian's virtual packages, and one that provides it."""
    virtual: dict[str, str] = {}
    for part in parts.values():
        for deb in part.sources:
            for name in deb.provides:
                virtual.setdefault(name, deb.name)
    return virtual


def _needs(
    rpm: str, part: Part, rpm_of: dict[str, str], stands_for: dict[str, str]
) -> Iterator[str]:
    """The first alternative of each dependency that is here and not in the same RPM."""
    needed = set()
    for deb in part.sources:
        for choices in deb.depends:
            names = (name if name in rpm_of else stands_for.get(name, "") for name in choices)
            chosen = next((name for name in names if name in rpm_of), "")
            if chosen and rpm_of[chosen] != rpm:
                needed.add(f"deb({chosen})")
    yield from sorted(needed)


def _accounts(entries: Iterable[Entry]) -> Iterator[str]:
    """RPM wants to know who makes the owners of files."""
    for entry in entries:
        kind = {"/etc/passwd": "user", "/etc/group": "group"}.get(entry.path)
        if kind:
            for line in Path(entry.source).read_text().splitlines():
                yield f"{kind}({line.split(':')[0]})"
