"""The tree a layer is unpacked into: parents by descriptor, nothing ever outside the root.

Directories are opened with openat2(2) below the root's descriptor: symbolic links of the layer are
followed as if the root were the system's (RESOLVE_IN_ROOT), as a container would see them. The
open descriptors are kept, so that most entries need no path lookup at all; whatever takes a
directory or symbolic link away drops them.
"""

from __future__ import annotations

import errno
import os
import stat

from trilby.storage.tarfault import corrupt, shown, unsafe
from trilby.system.syscalls_file import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PLAIN = RESOLVE_NO_SYMLINKS | RESOLVE_IN_ROOT
_MAX_OPEN = 100
_MAX_GRAVES = 500
_MAX_REPLACED = 1000  # directories that later entries replace: each costs a look at all names
_IMPLIED_MODE = 0o755


def clean(name: bytes) -> bytes:
    """Return `name` relative to the root, without ".", ".." and doubled slashes, b"" for the root.

    As in Go's path.Clean: ".." is taken away with what precedes it, whatever that is. Raises
    UnsafeLayer for a relative name that leaves the root.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            parts.append(part)
        elif parts:
            parts.pop()
        elif name[:1] != b"/":
            raise unsafe(f"refused to unpack {shown(name)!r}: it leads out of the layer")
    return b"/".join(parts)


class Parent:
    """An open directory: descriptor, real path, and the path as entries spell it, cleaned."""

    __slots__ = ("fd", "lexical", "path", "setgid")

    def __init__(self, fd: int, path: bytes, lexical: bytes) -> None:
        self.fd = fd
        self.path = path + b"/" if path else b""
        self.lexical = lexical + b"/" if lexical else b""
        self.setgid = bool(os.fstat(fd).st_mode & stat.S_ISGID)


class Tree:
    """One layer's root while it is written. Not safe for several threads."""

    def __init__(self, root: int, owner: tuple[int, int], opaque: str | None) -> None:
        self.root = root
        self.owner = owner  # of directories that no entry describes
        self.opaque = opaque  # the attribute that hides what is below a directory; None: remove it
        self.names: set[bytes] = set()  # real and spelled paths of the entries so far
        self.implied: set[bytes] = set()  # directories that hold entries of this layer
        self.whiteouts: set[bytes] = set()  # 0:0 devices that this layer made, and made way
        self.graves: dict[bytes, int] = {}  # contents whose name was taken: path -> open descriptor
        self._parents: dict[bytes, Parent] = {}
        self._replaced = 0
        self._prefix = os.readlink(f"/proc/self/fd/{root}").encode(errors="surrogateescape")

    def close(self) -> None:
        """Close every descriptor but the root's."""
        self.forget_parents()
        for fd in self.graves.values():
            os.close(fd)
        self.graves.clear()

    def forget_parents(self) -> None:
        """Close the directories: they may not be what their names say any more."""
        for parent in self._parents.values():
            os.close(parent.fd)
        self._parents.clear()

    def parent(self, head: bytes) -> Parent:
        """Return the directory spelled `head`, made if need be; raises OSError, UnsafeLayer.

        The descriptor is good until the next call of a method of this class.
        """
        found = self._parents.get(head)
        if found is not None:
            return found
        if len(self._parents) >= _MAX_OPEN:
            self.forget_parents()
        lexical = clean(head)
        if b".wh." in lexical and any(part[:4] == b".wh." for part in lexical.split(b"/")):
            raise corrupt(f"cannot unpack {shown(head)!r}: a whiteout is no directory")
        fd, path = self._open(lexical)
        found = self._parents[head] = Parent(fd, path, lexical)
        while path and path not in self.implied:
            self.implied.add(path)  # something of this layer is in it
            path = path.rpartition(b"/")[0]
        return found

    def _open(self, lexical: bytes) -> tuple[int, bytes]:
        """Open a directory, made if need be; return it and its real path below the root."""
        try:
            return self._existing(lexical)
        except FileNotFoundError:
            return self._make(lexical)

    def _existing(self, lexical: bytes) -> tuple[int, bytes]:
        name = os.fsdecode(lexical or b".")
        try:
            return openat2(self.root, name, _DIRECTORY, resolve=_PLAIN), lexical
        except OSError as error:
            if error.errno == errno.ENOTDIR and self._uncover(lexical):
                raise FileNotFoundError(errno.ENOENT, "no such directory any more") from None
            if error.errno != errno.ELOOP:
                raise
        inside = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        fd = openat2(self.root, name, _DIRECTORY, resolve=inside)
        target = os.readlink(b"/proc/self/fd/%d" % fd)
        return fd, target[len(self._prefix) :].strip(b"/")

    def _make(self, lexical: bytes) -> tuple[int, bytes]:
        """Make a directory that entries need but did not describe, and its parents."""
        missing = []
        while True:
            lexical, _, name = lexical.rpartition(b"/")
            missing.append(name)
            try:
                fd, path = self._existing(lexical)
                break
            except FileNotFoundError:
                if not lexical:
                    raise
        while missing:
            name = missing.pop()
            path = path + b"/" + name if path else name
            outer = fd
            try:
                os.mkdir(name, _IMPLIED_MODE, dir_fd=outer)
                fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
            except FileExistsError:
                # A symbolic link that leads nowhere (a directory would have been opened).
                raise NotADirectoryError(errno.ENOTDIR, "a parent is not a directory") from None
            finally:
                os.close(outer)
            os.fchown(fd, *self.owner)
            os.fchmod(fd, _IMPLIED_MODE)
            self.keep_hidden(fd, path)
        return fd, path

    def _uncover(self, lexical: bytes) -> bool:
        """Remove a whiteout of this layer that is in the way of a directory; whether one was."""
        at = -1
        while True:
            at = lexical.find(b"/", at + 1)
            path = lexical if at < 0 else lexical[:at]
            if path in self.whiteouts:
                return self._remove_device(path)
            if at < 0:
                return False

    def _remove_device(self, path: bytes) -> bool:
        head, _, base = path.rpartition(b"/")
        fd = openat2(self.root, os.fsdecode(head or b"."), _DIRECTORY, resolve=_PLAIN)
        try:
            info = os.stat(base, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISCHR(info.st_mode) or info.st_rdev:
                return False  # a later entry took its place
            os.unlink(base, dir_fd=fd)
            return True
        finally:
            os.close(fd)

    def is_hidden(self, lexical: bytes) -> bool:
        """Whether a whiteout of this layer stands for `lexical` or something above it."""
        while lexical and self.whiteouts:
            if lexical in self.whiteouts:
                return True
            lexical = lexical.rpartition(b"/")[0]
        return False

    def keep_hidden(self, fd: int, path: bytes) -> None:
        """A new directory in a whiteout's place goes on hiding what the whiteout hid."""
        if path in self.whiteouts and self.opaque is not None:
            self.whiteouts.discard(path)
            os.setxattr(fd, self.opaque, b"y")

    def adopt(self, head: bytes, parent: Parent) -> None:
        """Take over an open directory as the one spelled `head`."""
        if len(self._parents) >= _MAX_OPEN:
            self.forget_parents()
        old = self._parents.get(head)
        if old is not None:
            os.close(old.fd)
        self._parents[head] = parent

    def set_times(self, times: dict[bytes, tuple[int, int]]) -> None:
        """Set the (access, modification) times of directories that are still there."""
        for path, stamps in times.items():
            try:
                fd = openat2(self.root, os.fsdecode(path), _DIRECTORY, resolve=_PLAIN)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # a later entry took its place
                raise
            try:
                os.utime(fd, ns=stamps)
            finally:
                os.close(fd)

    def make_way(self, head: bytes, base: bytes) -> Parent:
        """Remove what is at head/base, whatever it is; return the parent again.

        If this layer wrote it, its content is kept open for the journal, which refers to it.
        """
        parent = self.parent(head)
        path = parent.path + base
        info = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            self._replaced += 1
            if self._replaced > _MAX_REPLACED:
                raise unsafe(f"refused to unpack {shown(path)!r}: too many entries replace others")
            below = path + b"/"
            for name in [name for name in self.names if name.startswith(below)]:
                self._bury(name)
            self._remove_tree(parent, base)
            self.forget_parents()
        else:
            if stat.S_ISREG(info.st_mode) and info.st_size and path in self.names:
                self._bury(path)
            os.unlink(base, dir_fd=parent.fd)
            if stat.S_ISLNK(info.st_mode):
                self.forget_parents()
        return self.parent(head)

    def _bury(self, path: bytes) -> None:
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
            if not stat.S_ISREG(os.stat(path, dir_fd=self.root, follow_symlinks=False).st_mode):
                return
            fd = openat2(self.root, os.fsdecode(path), flags, resolve=_PLAIN)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno == errno.ELOOP:
                return
            raise
        if path in self.graves:
            os.close(fd)  # the journal refers to the first of that name only
        elif len(self.graves) >= _MAX_GRAVES:
            os.close(fd)
            raise unsafe(f"refused to unpack {shown(path)!r}: too many entries replace each other")
        else:
            self.graves[path] = fd

    def _remove_tree(self, parent: Parent, base: bytes) -> None:
        from trilby.system.files import remove_tree

        remove_tree(os.fsdecode(b"/proc/self/fd/%d/%b" % (parent.fd, base)))

    def written_here(self, path: bytes) -> bool:
        """Whether an entry of this layer made the real `path`."""
        return path in self.names or path in self.implied

    def purge(self, parent: Parent, base: bytes) -> None:
        """Remove head/base as far as it comes from layers below (a whiteout, or an opaque mark)."""
        path = parent.path + base
        try:
            info = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(info.st_mode):
            if not self.written_here(path):
                os.unlink(base, dir_fd=parent.fd)
                if stat.S_ISLNK(info.st_mode):
                    self.forget_parents()
        elif self.written_here(path):
            fd = os.open(base, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent.fd)
            try:
                inner = Parent(fd, path, path)
                for name in os.listdir(fd):
                    self.purge(inner, os.fsencode(name))
            finally:
                os.close(fd)
        else:
            self._remove_tree(parent, base)
            self.forget_parents()
