"""Source archives that are equal when the files are: sorted, one owner, one time."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from typing import Final

from trilby.rpm.errors import InvalidProject
from trilby.system import process
from trilby.system.files import atomic_file

__all__ = ["files_of", "pack", "time_of"]

# What a project leaves behind while it is worked on.
_LEFT_OUT: Final = frozenset(
    {".git", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis",
     ".nox", ".tox"}
)  # fmt: skip
# The same, but in the project's own directory only: below it they may be packages.
_LEFT_AT_THE_TOP: Final = frozenset({"build", "dist"})
# What builds leave in their results, which may be in the project.
_LOGS: Final = ("build.log", "root.log")
_LEVEL: Final = 9


def files_of(directory: str) -> list[str]:
    """The files that belong to a project, relative, sorted: those that git tracks, if it does."""
    if os.path.exists(os.path.join(directory, ".git")):
        listed = _git(directory, "ls-files", "-z", "--cached").stdout.decode().split("\0")
        found = [name for name in listed if os.path.lexists(os.path.join(directory, name)) and name]
        return sorted(found)
    return sorted(_walk(directory))


def time_of(directory: str) -> int:
    """When the project was changed last, in seconds: its commit's time, or the newest file's."""
    if os.path.exists(os.path.join(directory, ".git")):
        committed = _git(directory, "log", "-1", "--format=%ct", check=False)
        if committed.returncode == 0:
            return int(committed.text)
    paths = [os.path.join(directory, name) for name in files_of(directory)]
    return max((int(os.lstat(path).st_mtime) for path in paths), default=0)


def pack(
    directory: str, archive: str, *, top: str, time: int | None = None, files: Sequence[str] = ()
) -> str:
    """Write a .tar.gz of a directory's files below ``top``; its path.

    ``files`` are relative; without them it is files_of(). ``time`` is every member's, without it
    time_of(). Raises InvalidProject if there is nothing to pack, and OSError.
    """
    names = list(files) or files_of(directory)
    if not names:
        raise InvalidProject(
            f"{directory} has no files to pack",
            hint="of a git clone those count that git tracks: git add",
        )
    when = time_of(directory) if time is None else time
    os.makedirs(os.path.dirname(os.path.abspath(archive)), exist_ok=True)
    with atomic_file(archive, 0o644, fsync=False) as fd, os.fdopen(os.dup(fd), "wb") as raw:
        with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as zipped:
            with tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for name in names:
                    _add(tar, os.path.join(directory, name), f"{top}/{name}", when)
    return archive


def _add(tar: tarfile.TarFile, path: str, name: str, time: int) -> None:
    status = os.lstat(path)
    member = tarfile.TarInfo(name)
    member.mtime = time
    if stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
        member.mode = 0o777
        tar.addfile(member)
        return
    member.mode = 0o755 if status.st_mode & 0o100 else 0o644
    with open(path, "rb") as file:
        data = file.read()
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _walk(directory: str) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        top = folder == directory
        folders[:] = sorted(name for name in folders if _belongs(os.path.join(folder, name), top))
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".src.rpm"):
                continue
            if os.path.isfile(path) or os.path.islink(path):
                yield os.path.relpath(path, directory)


def _belongs(folder: str, top: bool) -> bool:
    name = os.path.basename(folder)
    if name in _LEFT_OUT or name.endswith(".egg-info"):
        return False
    if top and all(os.path.exists(os.path.join(folder, log)) for log in _LOGS):
        return False
    made = top and name in _LEFT_AT_THE_TOP
    return not made or os.path.exists(os.path.join(folder, "__init__.py"))


def _git(directory: str, *words: str, check: bool = True) -> process.Completed:
    # A clone may belong to somebody else than who builds from it, as in a container.
    command = ["git", "-C", directory, "-c", f"safe.directory={directory}", *words]
    return process.run(command, check=check)
