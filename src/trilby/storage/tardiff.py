"""Write archives from directories: a layer's difference to its parent, or a whole tree."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence

from trilby.storage.tarwrite import END, Header, TreePacker, read_xattrs
from trilby.storage.treewalk import Found, open_root, walk
from trilby.storage.unpack import Owners
from trilby.system.syscalls_file import open_in_root

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


def write_diff(
    upper: str | int, lowers: Sequence[str | int] = (), *, owners: Owners | None = None
) -> Iterator[bytes]:
    """Yield the uncompressed archive of an overlay upper directory, whiteouts as .wh. entries.

    `lowers` (nearest first; paths or descriptors) tell whether an opaque directory hides anything:
    only then it gets a .wh..wh..opq entry, right behind its own. Entries are in the order of a walk
    with names sorted as bytes; the root has none. Raises OSError, CorruptLayer.
    """
    owners = owners or Owners()
    packer = TreePacker(owners.uids, owners.gids)
    fds = [open_root(upper)]
    try:
        fds += [open_root(lower) for lower in lowers]
        for found in walk(fds[0]):
            info = found.info
            if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
                yield _whiteout(found.path, info.st_mtime_ns)
                continue
            yield from packer.entry(found.dir_fd, found.name, found.path, info)
            if found.is_directory() and _is_opaque(found) and _hides(found.path, fds[1:]):
                marker = Header(found.path + b"/.wh..wh..opq", b"0", 0, info.st_mtime_ns)
                marker.mode = stat.S_IMODE(info.st_mode) & 0o777
                yield marker.blocks()
        yield END
    finally:
        for fd in fds:
            os.close(fd)


def _whiteout(path: bytes, mtime: int) -> bytes:
    head, slash, base = path.rpartition(b"/")
    return Header(head + slash + b".wh." + base, b"0", 0, mtime).blocks()


def _is_opaque(found: Found) -> bool:
    path = b"/proc/self/fd/%d/%b" % (found.dir_fd, found.name)
    try:
        return any(
            os.getxattr(path, name, follow_symlinks=False) == b"y"
            for name in os.listxattr(path, follow_symlinks=False)
            if name in _OPAQUE
        )
    except OSError:
        return False


def _hides(path: bytes, lowers: list[int]) -> bool:
    """Whether some lower really shows a directory at `path`."""
    for lower in lowers:
        try:
            fd = open_in_root(lower, os.fsdecode(path), os.O_PATH | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        except OSError:
            return False  # something else is there, and hides what is below it
        try:
            return stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)
    return False


def compare_trees(
    tree: str | int, parent: str | int | None, *, owners: Owners | None = None
) -> Iterator[bytes]:
    """Yield the uncompressed archive of what `tree` changed since `parent` (vfs, naive diff).

    Entries are sorted by path; a directory is listed if it or anything in it changed. Contents are
    taken to be equal if kind, mode, owner, size, time, device, link target and attributes are, as
    elsewhere. Without `parent` all is new. Raises OSError, CorruptLayer.
    """
    owners = owners or Owners()
    packer = TreePacker(owners.uids, owners.gids)
    root = open_root(tree)
    below = -1
    try:
        if parent is not None:
            below = open_root(parent)
        for path, deleted in sorted(_changes(root, below)):
            head, _, base = path.rpartition(b"/")
            if deleted:
                yield _whiteout(path, time.time_ns())
                continue
            fd = open_in_root(root, os.fsdecode(head or b"."), os.O_RDONLY | os.O_DIRECTORY)
            try:
                info = os.stat(base, dir_fd=fd, follow_symlinks=False)
                yield from packer.entry(fd, base, path, info)
            finally:
                os.close(fd)
        yield END
    finally:
        os.close(root)
        if below >= 0:
            os.close(below)


def _changes(root: int, below: int) -> set[tuple[bytes, bool]]:
    """Return (path, whether it was deleted) of every change."""
    changed: set[tuple[bytes, bool]] = set()
    if below < 0:
        return {(found.path, False) for found in walk(root)}
    for found in walk(root):
        if not _same(found, below):
            _add(changed, found.path, False)
    gone = b""

    def there(found: Found) -> bool:
        return found.path != gone

    for found in walk(below, there):
        kept = _stat(root, found.path)
        if kept is None:
            gone = found.path
            _add(changed, found.path, True)
        elif found.is_directory() and not stat.S_ISDIR(kept.st_mode):
            gone = found.path  # replaced: the new entry stands for all of it
    return changed


def _add(changed: set[tuple[bytes, bool]], path: bytes, deleted: bool) -> None:
    changed.add((path, deleted))
    head = path.rpartition(b"/")[0]
    while head and (head, False) not in changed:
        changed.add((head, False))
        head = head.rpartition(b"/")[0]


def _stat(root: int, path: bytes) -> os.stat_result | None:
    """Return the status of `path` without following any link; None if there is no such entry."""
    from trilby.system.syscalls_file import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2

    flags = os.O_PATH | os.O_NOFOLLOW
    head, _, base = path.rpartition(b"/")
    try:
        fd = openat2(
            root,
            os.fsdecode(head or b"."),
            flags | os.O_DIRECTORY,
            resolve=RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,
        )
    except OSError:
        return None
    try:
        return os.stat(base, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    finally:
        os.close(fd)


def _same(found: Found, below: int) -> bool:
    old, new = _stat(below, found.path), found.info
    if old is None:
        return False
    if (old.st_mode, old.st_uid, old.st_gid) != (new.st_mode, new.st_uid, new.st_gid):
        return False
    folder = stat.S_ISDIR(new.st_mode)
    if not folder and (old.st_size, old.st_mtime_ns, old.st_rdev) != (
        new.st_size,
        new.st_mtime_ns,
        new.st_rdev,
    ):
        return False
    head, _, base = found.path.rpartition(b"/")
    fd = open_in_root(below, os.fsdecode(head or b"."), os.O_RDONLY | os.O_DIRECTORY)
    try:
        if read_xattrs(fd, base) != read_xattrs(found.dir_fd, found.name):
            return False
        if not stat.S_ISLNK(new.st_mode):
            return True
        return os.readlink(base, dir_fd=fd) == os.readlink(found.name, dir_fd=found.dir_fd)
    finally:
        os.close(fd)


def pack_directory(root: str | int) -> Iterator[bytes]:
    """Yield an archive of the tree at `root`; the same tree gives the same bytes.

    Names are sorted as bytes, hard links, capabilities and the user's attributes are kept, sockets
    and the root's own entry are left out. Raises OSError, CorruptLayer.
    """
    packer = TreePacker()
    fd = open_root(root)
    try:
        for found in walk(fd):
            yield from packer.entry(found.dir_fd, found.name, found.path, found.info)
        yield END
    finally:
        os.close(fd)
