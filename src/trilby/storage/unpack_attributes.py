"""Owners, modes, times and extended attributes of what a layer unpacks."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from trilby.storage.tarfault import corrupt, shown, unsafe
from trilby.storage.tarread import Member

# Overlay's own marks: a layer that brings them could point into places that are not its own.
_REFUSED_XATTRS = (b"trusted.overlay.", b"user.overlay.")
_IGNORED_XATTRS = frozenset((b"security.selinux",))
_MAX_XATTR = 1 << 16
_UNSUPPORTED = frozenset((errno.ENOTSUP, errno.EOPNOTSUPP))
_DEFAULT_ACL = b"system.posix_acl_default"

Ranges = Sequence[tuple[int, int, int]]


class Attributes:
    """How the archive's owners and modes become the tree's.

    `uids` and `gids` are (container, host, length) ranges, empty for identity. `umask` is the
    process's. With `exact_modes` every mode is set, as directories may hand down ACLs.
    """

    def __init__(
        self,
        umask: int,
        uids: Ranges = (),
        gids: Ranges = (),
        *,
        ignore_chown_errors: bool = False,
        exact_modes: bool = False,
        privileged: bool = True,
    ) -> None:
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._uids, self._gids = uids, gids
        self._mapped = bool(uids or gids)
        self._ignore_chown_errors = ignore_chown_errors
        self._privileged = privileged
        self._unset = 0o7000 | umask  # mode bits that open and mkdir do not set
        self._exact = exact_modes

    def owner(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the ids on disk of a container's ids. Raises CorruptLayer if they have none."""
        if not self._mapped:
            return uid, gid
        return _mapped(uid, self._uids, "user"), _mapped(gid, self._gids, "group")

    def implied_owner(self) -> tuple[int, int]:
        """Return the ids on disk of what no entry gives an owner: root's, or ours if need be."""
        if self._ignore_chown_errors:
            return self._uid, self._gid
        return self.owner(0, 0)

    def whiteout_owner(self, member: Member) -> tuple[int, int]:
        """Return the ids on disk of a whiteout."""
        if self._ignore_chown_errors:
            return self._uid, self._gid
        return self.owner(member.uid, member.gid)

    def of_file(self, fd: int, member: Member, setgid: bool) -> None:
        """Set a new regular file's attributes; `setgid`: its directory hands its group down."""
        uid, gid = member.uid, member.gid
        if self._mapped:
            uid, gid = self.owner(uid, gid)
        if uid != self._uid or gid != self._gid or setgid:
            self._chown(fd, uid, gid)
        if member.mode & self._unset or self._exact:
            os.fchmod(fd, member.mode)
        if member.xattrs is not None:
            self._set_xattrs(fd, member, True)
        os.utime(fd, ns=(member.atime, member.mtime))

    def of_directory(self, fd: int, member: Member) -> None:
        """Set the attributes of a directory but its times, which its entries would change."""
        self._chown(fd, *self.owner(member.uid, member.gid))
        os.fchmod(fd, member.mode)
        if member.xattrs is not None:
            self._set_xattrs(fd, member, True)
            # From here on what is created may get other modes than were asked for.
            self._exact = self._exact or _DEFAULT_ACL in member.xattrs

    def of_name(self, base: bytes, dir_fd: int, member: Member, *, link: bool) -> None:
        """Set the attributes of anything by name; `link`: it is a symbolic link, without a mode."""
        self._chown(base, *self.owner(member.uid, member.gid), dir_fd=dir_fd)
        if not link:
            os.chmod(base, member.mode, dir_fd=dir_fd)
        if member.xattrs is not None:
            self._set_xattrs(b"/proc/self/fd/%d/%b" % (dir_fd, base), member, False)
        times = (member.atime, member.mtime)
        os.utime(base, ns=times, dir_fd=dir_fd, follow_symlinks=False)

    def _chown(self, target: int | bytes, uid: int, gid: int, dir_fd: int | None = None) -> None:
        try:
            if isinstance(target, int):
                os.fchown(target, uid, gid)
            else:
                os.chown(target, uid, gid, dir_fd=dir_fd, follow_symlinks=False)
        except OSError:
            if not self._ignore_chown_errors:
                raise

    def _set_xattrs(self, target: int | bytes, member: Member, follow: bool) -> None:
        for key, value in (member.xattrs or {}).items():
            if key in _IGNORED_XATTRS:
                continue
            if key.startswith(_REFUSED_XATTRS):
                raise unsafe(
                    f"refused {shown(member.name)!r}: its attribute {shown(key)} belongs to overlay"
                )
            if len(key) > 255 or len(value) > _MAX_XATTR:
                raise corrupt(f"cannot unpack {shown(member.name)!r}: oversized attribute")
            try:
                os.setxattr(target, key, value, follow_symlinks=follow)
            except OSError as error:
                # User attributes of links and devices are not permitted to anybody (xattr(7)).
                plain = not isinstance(target, bytes)
                if error.errno in _UNSUPPORTED:
                    continue
                if error.errno == errno.EPERM and not (self._privileged and plain):
                    continue
                raise

    def make_node(self, base: bytes, dir_fd: int, member: Member) -> bool:
        """Make a device or fifo; return False where devices may not be made."""
        kind = {0x33: stat.S_IFCHR, 0x34: stat.S_IFBLK}.get(member.kind, stat.S_IFIFO)
        device = os.makedev(*member.device) if kind != stat.S_IFIFO else 0
        try:
            os.mknod(base, kind | (member.mode & 0o777), device, dir_fd=dir_fd)
        except PermissionError:
            if self._privileged or kind == stat.S_IFIFO:
                raise
            return False
        return True


def _mapped(number: int, ranges: Ranges, what: str) -> int:
    if not ranges:
        return number
    for container, host, length in ranges:
        if container <= number < container + length:
            return host + number - container
    raise corrupt(f"cannot unpack the layer: {what} id {number} is in none of the mapped ranges")
