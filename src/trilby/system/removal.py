"""Removing directory trees: by descriptors, whatever their permissions, never across a mount."""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from trilby.system.errors import HostError, TreeBusy
from trilby.system.files import Fd

# A tree deeper than this is folded: its lower part moves up, so that descriptors do not run out.
_MAX_DEPTH = 100
# Trees of fewer entries are looked through for mounts instead of reading the mount table.
_FEW = 64


def remove_tree(path: str | os.PathLike[str], *, missing_ok: bool) -> None:
    """See files.remove_tree()."""
    folder, name = os.path.split(os.path.abspath(path))
    try:
        with Fd.open(folder, os.O_PATH | os.O_DIRECTORY) as parent:
            if not name or _looks_left(parent.number, name, _FEW) < 0:
                _refuse_mounts(path)
            _Remover(os.fspath(path)).remove(parent.number, name)
    except FileNotFoundError:
        if not missing_ok:
            raise


def _looks_left(dir_fd: int, name: str, looks: int, *, directory: bool = False) -> int:
    """Whether nothing is mounted at or below a name; -1 when that takes the mount table to tell.

    Each entry of the tree takes one of ``looks``; so many are left. A full node's table is long:
    its every line costs the kernel more than a look, and a pod's end removes some small trees.
    """
    from trilby.system.syscalls_file import RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

    if looks <= 0:
        return -1
    looks -= 1
    flags = (os.O_RDONLY | os.O_DIRECTORY if directory else os.O_PATH) | os.O_NOFOLLOW
    try:
        fd = openat2(dir_fd, name, flags, resolve=RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS)
    except FileNotFoundError:
        return looks
    except OSError:
        return -1  # a mount, or what cannot be opened
    with Fd(fd):
        if not directory:
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            return _looks_left(fd, ".", looks, directory=True) if is_directory else looks
        with os.scandir(fd) as entries:
            for entry in entries:
                is_directory = entry.is_dir(follow_symlinks=False)
                looks = _looks_left(fd, entry.name, looks, directory=is_directory)
                if looks < 0:
                    break
    return looks


def _refuse_mounts(path: str | os.PathLike[str]) -> None:
    """By the mount table, which also tells what is in the way."""
    from trilby.system.mount_table import list_mounts

    folder, name = os.path.split(os.path.abspath(path))
    mounts = list_mounts(os.path.join(os.path.realpath(folder), name), resolve=False)
    if mounts:
        raise TreeBusy(
            f"removing {os.fspath(path)}: {mounts[0].target} is a mount point",
            hint="unmount it first; findmnt shows what is mounted where",
        )


class _Remove(Protocol):
    def __call__(self, path: str, /, *, dir_fd: int | None) -> None: ...


class _Remover:
    """One removal: remembers its top for messages and for folding trees that are too deep."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.top_fd = -1
        self.folded = 0

    def remove(self, dir_fd: int, name: str) -> None:
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
                self._remove_directory(dir_fd, name, 0)
            else:
                self._unlink(dir_fd, name)
        except RecursionError as error:  # pragma: no cover - the folding prevents it
            raise HostError(f"removing {self.label}: nested too deep") from error

    def _remove_directory(self, dir_fd: int, name: str, depth: int) -> None:
        if depth >= _MAX_DEPTH:
            self.folded += 1
            os.rename(
                name,
                f".folded-{self.folded}-{os.urandom(4).hex()}",
                src_dir_fd=dir_fd,
                dst_dir_fd=self.top_fd,
            )
            return
        with Fd(self._open(dir_fd, name)) as here:
            if depth == 0:
                self.top_fd = here.number
            while True:
                folded = self.folded
                self._remove_entries(here.number, depth)
                if depth or folded == self.folded:
                    break
        self._retry(os.rmdir, dir_fd, name)

    def _remove_entries(self, fd: int, depth: int) -> None:
        with os.scandir(fd) as entries:
            listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in listed:
            try:
                if is_directory:
                    self._remove_directory(fd, name, depth + 1)
                else:
                    self._unlink(fd, name)
            except FileNotFoundError:
                continue

    def _unlink(self, dir_fd: int, name: str) -> None:
        self._retry(os.unlink, dir_fd, name)

    def _retry(self, call: _Remove, dir_fd: int, name: str) -> None:
        """Remove an entry; when it is not permitted, make it so and try once more."""
        try:
            try:
                call(name, dir_fd=dir_fd)
            except PermissionError:
                _make_removable(dir_fd, name)
                call(name, dir_fd=dir_fd)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise self._busy(name) from error
            raise

    def _open(self, dir_fd: int, name: str) -> int:
        """Open a directory of the same mount for reading, giving ourselves leave where it lacks."""
        from trilby.system.syscalls_file import RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS
        try:
            fd = openat2(dir_fd, name, flags, resolve=resolve)
        except PermissionError:
            _give_ourselves_leave(dir_fd, name)
            fd = openat2(dir_fd, name, flags, resolve=resolve)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise self._busy(name) from error
            raise
        mode = os.fstat(fd).st_mode
        if mode & stat.S_IRWXU != stat.S_IRWXU and os.geteuid() != 0:
            os.fchmod(fd, 0o700)
        return fd

    def _busy(self, name: str) -> TreeBusy:
        return TreeBusy(
            f"removing {self.label}: {name!r} in it is a mount point or in use",
            hint="unmount it first; findmnt shows what is mounted where",
        )


def _give_ourselves_leave(dir_fd: int, name: str) -> None:
    """chmod of a directory that cannot be opened; a link put in its place is not followed."""
    with Fd.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=dir_fd) as fd:
        os.chmod(f"/proc/self/fd/{fd.number}", 0o700)


def _make_removable(dir_fd: int, name: str) -> None:
    """Clear what forbids a removal: immutable or append-only flags of it or its directory."""
    from trilby.system.syscalls_file import (
        FS_APPEND_FL,
        FS_IMMUTABLE_FL,
        get_file_flags,
        set_file_flags,
    )

    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    for where, at in ((name, dir_fd), (".", dir_fd)):
        try:
            with Fd.open(where, flags, dir_fd=at) as fd:
                old = get_file_flags(fd.number)
                new = old & ~(FS_IMMUTABLE_FL | FS_APPEND_FL)
                if new != old:
                    set_file_flags(fd.number, new)
        except OSError:
            continue
