"""Whiteouts of a layer: ".wh.<name>" and ".wh..wh..opq" (OCI image layer specification).

A whiteout hides what is below the layer, never what the layer itself brings, in whatever order the
entries come. Overlay keeps it as a 0:0 device or an attribute; elsewhere the thing is removed.
"""

from __future__ import annotations

import os
import stat

from trilby.storage.tarfault import shown, unsafe
from trilby.storage.unpack_tree import Parent, Tree, clean

PREFIX = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."


def apply_whiteout(tree: Tree, head: bytes, base: bytes, owner: tuple[int, int]) -> None:
    """Apply the whiteout entry head/base. Raises UnsafeLayer, OSError."""
    name = base[len(PREFIX) :]
    if name in (b"", b".", b".."):
        raise unsafe(f"refused the whiteout {shown(head + b'/' + base)!r}: it names no entry")
    if base.startswith(_AUFS) and base != _OPAQUE:
        return  # aufs' own bookkeeping
    if tree.is_hidden(clean(head)):
        return
    try:
        parent = tree.parent(head)
    except NotADirectoryError:
        return  # the parent itself is hidden or replaced: there is nothing below it to hide
    if base == _OPAQUE:
        _hide_directory(tree, parent)
    elif tree.opaque is None:
        _with_own_descriptor(tree, parent, [name])
    else:
        _hide_entry(tree, parent, name, owner)


def _hide_directory(tree: Tree, parent: Parent) -> None:
    if tree.opaque is not None:
        os.setxattr(parent.fd, tree.opaque, b"y")
    else:
        _with_own_descriptor(tree, parent, [os.fsencode(n) for n in os.listdir(parent.fd)])


def _with_own_descriptor(tree: Tree, parent: Parent, names: list[bytes]) -> None:
    """Remove `names` from below; the tree may close its descriptors meanwhile."""
    fd = os.dup(parent.fd)
    try:
        own = Parent(fd, parent.path.rstrip(b"/"), parent.lexical.rstrip(b"/"))
        for name in names:
            tree.purge(own, name)
    finally:
        os.close(fd)


def _hide_entry(tree: Tree, parent: Parent, name: bytes, owner: tuple[int, int]) -> None:
    path = parent.path + name
    try:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent.fd)
    except FileExistsError:
        info = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode) and tree.opaque is not None:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent.fd)
            try:
                os.setxattr(fd, tree.opaque, b"y")
            finally:
                os.close(fd)
        return
    tree.whiteouts.add(path)
    if owner != (os.geteuid(), os.getegid()) or parent.setgid:
        os.chown(name, *owner, dir_fd=parent.fd, follow_symlinks=False)
