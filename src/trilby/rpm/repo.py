"""Repositories: what dnf5 is told about them, and their metadata by createrepo_c."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from trilby.rpm.errors import NothingToDo
from trilby.rpm.sign import SigningKey, export_key, sign_file
from trilby.rpm.tools import HOST, Inside, Tools
from trilby.system import process

__all__ = ["Repository", "dnf_config", "make_repository", "repo_file"]

KEY_NAME: Final = "RPM-GPG-KEY"


class Repository(msgspec.Struct, frozen=True):
    """A repository as dnf reads it.

    ``url`` is a base URL, or an absolute path; ``key`` is a path or URL of the key that its
    packages must be signed with, without one signatures are not looked at. ``priority`` is dnf's:
    the lower wins.
    """

    name: str
    url: str
    key: str = ""
    priority: int = 99

    @property
    def directory(self) -> str:
        """Its directory on this host, empty if it is elsewhere."""
        path = self.url.removeprefix("file://")
        return path if path.startswith("/") else ""

    def text(self) -> str:
        """Its section of a .repo file."""
        url = f"file://{self.directory}" if self.directory else self.url
        key = f"file://{self.key}" if self.key.startswith("/") else self.key
        lines = [
            f"[{self.name}]",
            f"name={self.name}",
            f"baseurl={url}",
            f"gpgcheck={int(bool(key))}",
            *([f"gpgkey={key}"] if key else []),
            f"priority={self.priority}",
            "metadata_expire=0",
        ]
        return "\n".join(lines) + "\n"


def dnf_config(repositories: Sequence[Repository], *, folder: str = "/dev/null") -> str:
    """A dnf.conf with these repositories, and those of the .repo files in ``folder``."""
    main = [
        "[main]",
        "assumeyes=True",
        "best=True",
        "install_weak_deps=False",
        f"reposdir={folder}",
        "protected_packages=",
        "keepcache=False",
    ]
    return "\n".join(main) + "\n\n" + "\n".join(each.text() for each in repositories)


def make_repository(
    directory: str,
    *,
    tools: Tools = HOST,
    key: SigningKey | None = None,
    timestamp: int = 0,
) -> Repository:
    """Write the metadata of all packages in a directory, signed with ``key`` if there is one.

    ``timestamp`` (seconds) is in the metadata in place of the present, for equal bytes from equal
    packages; 0 takes the newest package's build time. Raises NothingToDo, ToolMissing,
    SigningFailed, CommandFailed.
    """
    directory = os.path.abspath(directory)
    if not os.path.isdir(directory):
        raise NothingToDo(f"there is no directory {directory}")
    if not any(name.endswith(".rpm") for _, _, names in os.walk(directory) for name in names):
        raise NothingToDo(f"{directory} has no packages", hint="build some: trilby rpm build")
    inside = Inside(shared=(directory,))
    newest = _date(directory, tools, inside)
    stamp = timestamp or newest
    tools.run(
        [
            "createrepo_c",
            "--quiet",
            "--no-database",
            "--general-compress-type=zstd",
            f"--revision={stamp}",
            "--set-timestamp-to-revision",
            directory,
        ],
        inside,
    )
    if key is None:
        return Repository(os.path.basename(directory), directory)
    sign_file(f"{directory}/repodata/repomd.xml", key, tools=tools)
    public = os.path.join(directory, KEY_NAME)
    export_key(key, public, tools=tools)
    return Repository(os.path.basename(directory), directory, key=public)


def repo_file(repository: Repository, *, name: str = "", url: str = "") -> str:
    """The text of a .repo file for /etc/yum.repos.d; ``url`` is where it will be served."""
    base = url or repository.url
    key = repository.key and f"{base.rstrip('/')}/{os.path.basename(repository.key)}"
    return Repository(name or repository.name, base, key).text()


def _date(directory: str, tools: Tools, inside: Inside) -> int:
    """Give package files the time when they were built, which metadata tell; the newest of them."""
    packages = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(directory)
        for name in names
        if name.endswith(".rpm")
    )
    command = ["rpm", "-qp", "--nosignature", "--nodigest", "--qf", "%{BUILDTIME}\\n", *packages]
    done: process.Completed = tools.run(command, inside)
    times = [int(line) for line in done.text.split()]
    for path, time in zip(packages, times, strict=True):
        os.utime(path, (time, time))
    return max(times)
