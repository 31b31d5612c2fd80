"""Noticing that CNI configuration changed, also in directories that do not exist yet."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Iterable
from types import TracebackType

from trilby.system.events import (
    COMPLETE,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    FileEvent,
    Inotify,
)

# One mask for directories and for what is above missing ones: a path has a single watch.
_MASK = COMPLETE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF


class DirectoryWatch:
    """Changes in any of ``directories``: files written, moved, removed, the directory itself.

    For a directory that is missing its nearest existing parent is watched until it is there.
    Watching begins at construction: read the directories after it and nothing is missed.
    """

    def __init__(self, directories: Iterable[str]) -> None:
        self.directories = tuple(map(os.path.abspath, directories))
        self._inotify = Inotify()
        self._watched: dict[str, str] = {}
        self._arrange()

    async def changes(self) -> AsyncIterator[None]:
        """One item per change that may matter; several quick changes may be one item."""
        async for event in self._inotify:
            if event.removed:
                self._forget(event.path)
            moved = self._arrange()
            if moved or event.overflow or self._matters(event):
                yield

    def close(self) -> None:
        self._inotify.close()

    async def __aenter__(self) -> DirectoryWatch:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _matters(self, event: FileEvent) -> bool:
        if event.path not in self.directories:
            return False
        if not event.mask & IN_CREATE:
            return True
        # A file that is only just made is told again when it is complete, a link is not.
        try:
            status = os.lstat(os.path.join(event.path, event.name))
        except OSError:
            return True
        return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1

    def _forget(self, place: str) -> None:
        """The watch on ``place`` is gone; a new directory may even have the old one's inode."""
        self._watched = {
            directory: identity
            for directory, identity in self._watched.items()
            if identity.rpartition(" ")[0] != place
        }

    def _arrange(self) -> bool:
        """Watch each directory, or what exists above it; true when a watch went elsewhere."""
        changed = False
        for directory in self.directories:
            place, identity = _nearest(directory)
            if self._watched.get(directory) == identity:
                continue
            try:
                self._inotify.add(place, _MASK)
            except OSError:
                continue  # it went away meanwhile; its parent's event comes
            self._watched[directory] = identity
            changed = True
        return changed


def _nearest(directory: str) -> tuple[str, str]:
    """The directory or its nearest existing parent, and a name that changes with its inode."""
    while True:
        try:
            status = os.stat(directory)
        except OSError:
            parent = os.path.dirname(directory)
            if parent == directory:
                raise
            directory = parent
        else:
            return directory, f"{directory} {status.st_dev}:{status.st_ino}"
