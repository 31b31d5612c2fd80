"""Unpack an archive into a tree and journal it: the loop that every file goes through.

Imports next to nothing, so that a worker process starts quickly.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from trilby.storage.tarfault import corrupt, entry_failed, shown, unsafe
from trilby.storage.tarread import Member, TarReader
from trilby.storage.tarsplit import JournalWriter, checksum_function
from trilby.storage.unpack_attributes import Attributes
from trilby.storage.unpack_tree import Parent, Tree, clean
from trilby.storage.unpack_whiteout import PREFIX, apply_whiteout

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REGULAR, _DIRECTORY, _GLOBAL, _CONTIGUOUS, _SPARSE = 0x30, 0x35, 0x67, 0x37, 0x53
_LINK, _SYMLINK, _CHAR, _BLOCK, _FIFO = 0x31, 0x32, 0x33, 0x34, 0x36


class LayerUnpacker:
    """Unpacks one archive; `run` once, then read the totals. Not safe for several threads."""

    def __init__(self, tree: Tree, attributes: Attributes, journal: JournalWriter | None) -> None:
        self.files = 0
        self.content_size = 0
        self.uids: set[int] = set()
        self.gids: set[int] = set()
        self._tree = tree
        self._attributes = attributes
        self._journal = journal
        self._checksum: Callable[[int, bytes], int] | None = (
            checksum_function() if journal is not None else None
        )
        self._reader = TarReader(iter(()))
        self._directory_times: dict[bytes, tuple[int, int]] = {}

    def run(self, blocks: Iterator[bytes]) -> None:
        """Unpack the archive in `blocks` and read them all. Raises CorruptLayer, UnsafeLayer, …"""
        reader = self._reader = TarReader(blocks, keep_raw=self._journal is not None)
        uids, gids = self.uids, self.gids
        entry = self._entry
        while (member := reader.next()) is not None:
            self.files += 1
            uids.add(member.uid)
            gids.add(member.gid)
            try:
                entry(member)
            except OSError as error:
                raise entry_failed(member.name, error) from error
            except RecursionError:
                raise unsafe(f"refused {shown(member.name)!r}: nested too deep") from None
        self._finish()

    def _entry(self, member: Member) -> None:
        name = member.name
        if name[:2] == b"./":
            name = name[2:]
        head, _, base = name.rpartition(b"/")
        kind = member.kind
        if (kind == _REGULAR or not kind) and base and base[0] != 0x2E and member.sparse is None:
            self._regular(member, head, base)
            return
        if kind == _GLOBAL:
            self._note(member, clean(b"/" + name), None)
            return
        if base in (b"", b".", b".."):
            head, _, base = clean(name).rpartition(b"/")
        if base[:4] == PREFIX:
            apply_whiteout(self._tree, head, base, self._attributes.whiteout_owner(member))
            self._note(member, clean(head + b"/" + base), None)
        elif not base and kind != _DIRECTORY:
            raise corrupt(f"cannot unpack {shown(member.name)!r}: only a directory can be the root")
        elif kind in (_REGULAR, 0, _CONTIGUOUS, _SPARSE):
            self._regular(member, head, base)
        elif kind in _MAKERS:
            _MAKERS[kind](self, member, head, base)
        else:
            kind_shown = shown(bytes((kind,)))
            raise corrupt(f"cannot unpack {shown(member.name)!r}: unknown type {kind_shown!r}")

    def _regular(self, member: Member, head: bytes, base: bytes) -> None:
        tree = self._tree
        parent = tree.parent(head)
        try:
            fd = os.open(base, _CREATE, member.mode & 0o777, dir_fd=parent.fd)
        except FileExistsError:
            parent = tree.make_way(head, base)
            fd = os.open(base, _CREATE, member.mode & 0o777, dir_fd=parent.fd)
        try:
            lexical = parent.lexical + base
            if lexical in tree.names or member.sparse is not None or parent.path != parent.lexical:
                self._odd_content(member, fd, parent.path + base, lexical)
            else:
                tree.names.add(lexical)
                self._content(member, fd)
            self._attributes.of_file(fd, member, parent.setgid)
        finally:
            os.close(fd)

    def _content(self, member: Member, fd: int) -> None:
        """Write the data of a file that the journal can refer to by its name."""
        size = member.size
        self.content_size += size
        checksum = 0
        update = self._checksum
        if size:
            data = self._reader.take()
            if data is None:
                for piece in self._reader.chunks():
                    write_all(fd, piece)
                    if update is not None:
                        checksum = update(checksum, piece)
            else:
                if os.write(fd, data) != size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if update is not None:
                    checksum = update(0, data)
        if self._journal is not None:
            raw = self._reader.raw
            head = raw[0] if len(raw) == 1 else b"".join(raw)
            raw.clear()
            self._journal.file(head, member.name, size, checksum)

    def _odd_content(self, member: Member, fd: int, path: bytes, lexical: bytes) -> None:
        """Write a file that is sparse, or is reached by a link, or whose name came before.

        By a link, as a later entry may replace the link; and other tools' readers of journals
        follow an absolute one out of the layer.
        """
        self.content_size += member.size
        pieces = self._journal_raw(member, path, lexical)
        if member.sparse is None:
            for piece in pieces:
                write_all(fd, piece)
        else:
            os.ftruncate(fd, member.real_size)
            _write_regions(fd, member.sparse, pieces)

    def _journal_raw(self, member: Member, path: bytes, lexical: bytes) -> Iterator[bytes]:
        """Yield the member's data; the journal keeps the data itself, not a reference to a file.

        The tree will not have these bytes under this name in this form (or not the journal's only
        entry of that name, and it may have each name but once).
        """
        names = self._tree.names
        journal = self._journal
        if journal is not None and not (path in names or lexical in names):
            raw = self._reader.raw
            journal.file(b"".join(raw), member.name, 0, 0)
            raw.clear()
        names.update((path, lexical))
        for piece in self._reader.chunks():
            if journal is not None:
                journal.segment(b"".join(self._reader.raw))
                self._reader.raw.clear()
                journal.segment(piece)
            yield piece

    def _note(self, member: Member, lexical: bytes, path: bytes | None) -> None:
        """Journal a member without a file's content."""
        if self._journal is None:
            self._tree.names.update((path or lexical, lexical))
            return
        for _ in self._journal_raw(member, path or lexical, lexical):
            pass

    def _directory(self, member: Member, head: bytes, base: bytes) -> None:
        tree = self._tree
        if not base:
            self._note(member, b"", b"")
            return
        parent = tree.parent(head)
        try:
            os.mkdir(base, member.mode & 0o777, dir_fd=parent.fd)
        except FileExistsError:
            info = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                parent = tree.make_way(head, base)
                os.mkdir(base, member.mode & 0o777, dir_fd=parent.fd)
            elif (info.st_mode ^ member.mode) & stat.S_ISGID:
                tree.forget_parents()  # they remember whether they hand their group down
                parent = tree.parent(head)
        path, lexical = parent.path + base, parent.lexical + base
        fd = os.open(base, _OPEN_DIRECTORY, dir_fd=parent.fd)
        try:
            tree.keep_hidden(fd, path)
            self._attributes.of_directory(fd, member)
            self._directory_times[path] = (member.atime, member.mtime)
            self._note(member, lexical, path)
            tree.adopt(head + b"/" + base if head else base, Parent(fd, path, lexical))
        except BaseException:
            os.close(fd)
            raise

    def _symlink(self, member: Member, head: bytes, base: bytes) -> None:
        parent = self._tree.parent(head)
        try:
            os.symlink(member.link, base, dir_fd=parent.fd)
        except FileExistsError:
            parent = self._tree.make_way(head, base)
            os.symlink(member.link, base, dir_fd=parent.fd)
        self._attributes.of_name(base, parent.fd, member, link=True)
        self._note(member, parent.lexical + base, parent.path + base)

    def _hard_link(self, member: Member, head: bytes, base: bytes) -> None:
        tree = self._tree
        target_head, _, target = clean(member.link).rpartition(b"/")
        if not target:
            raise corrupt(f"cannot unpack {shown(member.name)!r}: a hard link to the root")
        if clean(member.name) == clean(member.link):
            raise corrupt(f"cannot unpack {shown(member.name)!r}: a hard link to itself")
        tree.parent(head)  # made now: that may replace a whiteout, which is then no target
        source = os.dup(tree.parent(target_head).fd)
        try:
            info = os.stat(target, dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                raise corrupt(f"cannot unpack {shown(member.name)!r}: a hard link to a directory")
            if stat.S_ISCHR(info.st_mode) and not info.st_rdev:
                raise FileNotFoundError  # a whiteout
            parent = tree.parent(head)
            try:
                _link(target, base, source, parent.fd)
            except FileExistsError:
                parent = tree.make_way(head, base)
                _link(target, base, source, parent.fd)
        except FileNotFoundError:
            raise corrupt(
                f"cannot unpack {shown(member.name)!r}: it is a hard link to"
                f" {shown(member.link)!r}, which the layer does not have"
            ) from None
        finally:
            os.close(source)
        link = stat.S_ISLNK(info.st_mode)
        self._attributes.of_name(base, parent.fd, member, link=link)
        self._note(member, parent.lexical + base, parent.path + base)

    def _node(self, member: Member, head: bytes, base: bytes) -> None:
        parent = self._tree.parent(head)
        try:
            made = self._attributes.make_node(base, parent.fd, member)
        except FileExistsError:
            parent = self._tree.make_way(head, base)
            made = self._attributes.make_node(base, parent.fd, member)
        if made:
            self._attributes.of_name(base, parent.fd, member, link=False)
        self._note(member, parent.lexical + base, parent.path + base)

    def _finish(self) -> None:
        """Journal what follows the archive, and set the directories' times."""
        reader, journal = self._reader, self._journal
        if journal is not None and reader.raw:
            journal.segment(b"".join(reader.raw))
            reader.raw.clear()
        for piece in reader.rest():
            if journal is not None:
                journal.segment(piece)
        self._tree.set_times(self._directory_times)


_MAKERS: dict[int, Callable[[LayerUnpacker, Member, bytes, bytes], None]] = {
    _DIRECTORY: LayerUnpacker._directory,
    _LINK: LayerUnpacker._hard_link,
    _SYMLINK: LayerUnpacker._symlink,
    _CHAR: LayerUnpacker._node,
    _BLOCK: LayerUnpacker._node,
    _FIFO: LayerUnpacker._node,
}


def _link(target: bytes, base: bytes, source: int, directory: int) -> None:
    os.link(target, base, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` at the descriptor's position."""
    written = os.write(fd, data)
    while written < len(data):
        data = data[written:]
        written = os.write(fd, data)


def _write_regions(fd: int, regions: list[tuple[int, int]], pieces: Iterator[bytes]) -> None:
    data = b""
    for offset, length in regions:
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            if not data:
                data = next(pieces)
            write_all(fd, data[:length])
            data, length = data[length:], max(0, length - len(data))
    for _ in pieces:
        pass
