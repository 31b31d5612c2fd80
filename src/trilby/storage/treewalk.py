"""Walk a tree by descriptors, in the order in which layers list it: names sorted as bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found:
    """One entry: the open directory that holds it, its name there, its path below the root."""

    __slots__ = ("dir_fd", "info", "name", "path")

    def __init__(self, dir_fd: int, name: bytes, path: bytes, info: os.stat_result) -> None:
        self.dir_fd = dir_fd
        self.name = name
        self.path = path
        self.info = info

    def is_directory(self) -> bool:
        """Whether it is a directory, not a link to one."""
        return stat.S_ISDIR(self.info.st_mode)


def open_root(root: str | int) -> int:
    """Open a root given as path or descriptor; the caller closes what is returned."""
    if isinstance(root, int):
        return os.dup(root)
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def walk(
    root: int, descend: Callable[[Found], bool] | None = None, path: bytes = b""
) -> Iterator[Found]:
    """Yield every entry below `root`, a directory before what it holds; links are not followed.

    `descend` says whether to enter a directory, asked after it was yielded. An entry's `dir_fd` is
    good until the next one is asked for. Raises OSError.
    """
    fd = os.dup(root)
    stack = [(fd, path, _names(fd))]
    try:
        while stack:
            fd, folder, names = stack[-1]
            if not names:
                stack.pop()
                os.close(fd)
                continue
            name = names.pop()
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            found = Found(fd, name, folder + b"/" + name if folder else name, info)
            yield found
            if found.is_directory() and (descend is None or descend(found)):
                inner = os.open(name, _DIRECTORY, dir_fd=fd)
                stack.append((inner, found.path, []))
                stack[-1] = (inner, found.path, _names(inner))
    finally:
        for fd, _, _ in stack:
            os.close(fd)


def _names(fd: int) -> list[bytes]:
    """Return the names in a directory, the first one last."""
    return sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)
