"""Temporary directories on the store's own file system, alive as long as their lock is held.

Layout of containers/storage: ``<root>/lock-<name>`` is locked for the lifetime of
``<root>/temp-dir-<name>/``. Whoever can take the lock knows that the owner is gone, and removes
both; so does any newer peer that uses this store. One process uses one name for all that it has
under way, and removes it with the last.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading

from trilby.storage import notes
from trilby.storage.errors import StoreUnusable
from trilby.system.errors import HostError, LockBusy, TreeBusy
from trilby.system.files import remove_tree
from trilby.system.locks import Hold, RecordLock

_ATTEMPTS = 40
_PAUSE_SECONDS = 0.05


class TempRoot:
    """The place for temporary directories of one store on one file system."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._guard = threading.Lock()
        self._name = os.urandom(8).hex()
        self._hold: Hold | None = None
        self._users = 0
        self._counter = itertools.count()

    def directory(self) -> TempDir:
        """A new empty directory. Raises StoreUnusable."""
        with self._guard:
            try:
                if self._hold is None:
                    self._hold = self._begin()
                path = os.path.join(self._path("temp-dir"), str(next(self._counter)))
                os.mkdir(path, 0o700)
            except OSError as error:
                raise StoreUnusable(
                    f"making a directory in {self.root}: {error.strerror}"
                ) from error
            self._users += 1
        return TempDir(self, path)

    def remove_dead(self) -> list[str]:
        """Remove temporary directories here whose owners are gone; their paths."""
        try:
            entries = os.listdir(self.root)
        except FileNotFoundError:
            return []
        names = {
            entry.removeprefix("temp-dir-").removeprefix("lock-")
            for entry in entries
            if entry.startswith(("temp-dir-", "lock-"))
        }
        return [path for name in sorted(names) if (path := self._remove_if_dead(name))]

    def _remove_if_dead(self, name: str) -> str:
        lock_path = os.path.join(self.root, f"lock-{name}")
        directory = os.path.join(self.root, f"temp-dir-{name}")
        lock = RecordLock(lock_path)
        if lock.held():
            # By this process, perhaps by this thread, which could take it once more.
            return ""
        try:
            with lock.exclusive(timeout=0):
                existed = os.path.exists(directory)
                _remove_for_good(directory)
                os.unlink(lock_path)
        except LockBusy:
            return ""
        except (OSError, HostError) as error:
            notes.warning(__name__, "removing %s: %s", directory, error)
            return ""
        return directory if existed else ""

    def _path(self, kind: str) -> str:
        return os.path.join(self.root, f"{kind}-{self._name}")

    def _begin(self) -> Hold:
        os.makedirs(self.root, 0o700, exist_ok=True)
        while True:
            try:
                hold = RecordLock(self._path("lock")).exclusive(timeout=0)
            except LockBusy:
                # Somebody looks whether it is dead.
                self._name = os.urandom(8).hex()
                continue
            # A cleaner may have removed the file between our opening and our locking it.
            if os.path.exists(self._path("lock")):
                break
            hold.release()
        try:
            os.mkdir(self._path("temp-dir"), 0o700)
        except BaseException:
            hold.release()
            raise
        return hold

    def leave(self) -> None:
        """One directory less; with the last one the lock goes too."""
        with self._guard:
            self._users -= 1
            if self._users:
                return
            hold, self._hold = self._hold, None
            try:
                remove_tree(self._path("temp-dir"))
                os.unlink(self._path("lock"))
            except (OSError, HostError) as error:
                # With the lock file still there the next recovery tries again.
                notes.warning(__name__, "removing %s: %s", self._path("temp-dir"), error)
                self._name = os.urandom(8).hex()
            finally:
                if hold is not None:
                    hold.release()


class TempDir:
    """One temporary directory; ``close`` removes it with what was moved into it."""

    def __init__(self, root: TempRoot, path: str) -> None:
        self.path = path
        self._root: TempRoot | None = root
        self._entries = itertools.count()

    def take(self, path: str) -> None:
        """Move a file or directory in here, to be removed by ``close``; missing is fine."""
        try:
            os.rename(
                path, os.path.join(self.path, f"{next(self._entries)}-{os.path.basename(path)}")
            )
        except FileNotFoundError:
            pass

    def close(self) -> None:
        """Remove the directory; a second call does nothing."""
        root, self._root = self._root, None
        if root is None:
            return
        try:
            _remove_for_good(self.path)
        except (OSError, HostError) as error:
            notes.warning(__name__, "removing %s: %s", self.path, error)
        finally:
            root.leave()

    def __enter__(self) -> TempDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove_for_good(path: str) -> None:
    """Remove a tree though a killed process' helper may not have noticed yet and still write."""
    import time

    for attempt in range(_ATTEMPTS):
        try:
            remove_tree(path)
            return
        except TreeBusy:
            # A trial mount, or two that were to be compared, of a process that was killed.
            from trilby.system.mount_table import unmount_tree

            if attempt == _ATTEMPTS - 1 or not unmount_tree(path):
                raise
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_PAUSE_SECONDS)
