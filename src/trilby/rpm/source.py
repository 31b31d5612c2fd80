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
    {".git", ".venv", "build", "dist", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache",
     ".hypothesis", ".tox"}
)  # fmt: skip
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
        return int(_git(directory, "log", "-1", "--format=%ct").text or 0)
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
        raise InvalidProject(f"{directory} has no files to pack")
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
        folders[:] = sorted(
            name for name in folders if name not in _LEFT_OUT and not name.endswith(".egg-info")
        )
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) or os.path.islink(path):
                yield os.path.relpath(path, directory)


def _git(directory: str, *words: str) -> process.Completed:
    # A clone may belong to somebody else than who builds from it, as in a container.
    return process.run(["git", "-C", directory, "-c", f"safe.directory={directory}", *words])
