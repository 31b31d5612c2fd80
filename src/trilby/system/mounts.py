"""Mounts as data: frozen values that can be listed, described, made and undone.

Each value has describe(), mount() and unmount(); a Plan makes several and takes back what it made
when one fails. Bind mounts are configured while detached and attached last, so nobody sees a
read-only mount that is writable for a moment.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Literal, Protocol

import msgspec

from trilby.system import syscalls_mount as sys_mount
from trilby.system.files import Fd
from trilby.system.mount_table import (
    MountEntry,
    is_mountpoint,
    list_mounts,
    unmount,
    unmount_tree,
)

__all__ = [
    "BindMount",
    "Mount",
    "MountEntry",
    "OverlayMount",
    "Plan",
    "Propagation",
    "PropagationMode",
    "Remount",
    "TmpfsMount",
    "is_mountpoint",
    "list_mounts",
    "unmount",
    "unmount_tree",
]

log = logging.getLogger(__name__)

PropagationMode = Literal["private", "slave", "shared", "unbindable"]

_PROPAGATION = {
    "private": sys_mount.MS_PRIVATE,
    "slave": sys_mount.MS_SLAVE,
    "shared": sys_mount.MS_SHARED,
    "unbindable": sys_mount.MS_UNBINDABLE,
}
_FLAGS = {
    "ro": (sys_mount.MS_RDONLY, sys_mount.MOUNT_ATTR_RDONLY),
    "nosuid": (sys_mount.MS_NOSUID, sys_mount.MOUNT_ATTR_NOSUID),
    "nodev": (sys_mount.MS_NODEV, sys_mount.MOUNT_ATTR_NODEV),
    "noexec": (sys_mount.MS_NOEXEC, sys_mount.MOUNT_ATTR_NOEXEC),
    "noatime": (sys_mount.MS_NOATIME, sys_mount.MOUNT_ATTR_NOATIME),
    "nodiratime": (sys_mount.MS_NODIRATIME, sys_mount.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (sys_mount.MS_NOSYMFOLLOW, sys_mount.MOUNT_ATTR_NOSYMFOLLOW),
}


class Mount(Protocol):
    """What a Plan can make."""

    def describe(self) -> str:
        """One line, as a person would type it."""
        ...

    def mount(self) -> None:
        """Make it; raises OSError and leaves nothing then."""
        ...

    def unmount(self) -> None:
        """Undo it; nothing happens when it is undone already."""
        ...


class BindMount(msgspec.Struct, frozen=True):
    """``source`` (a file or directory) seen at ``target``, which must exist.

    ``recursive`` takes the mounts below along and applies ``flags`` (ro, nosuid, nodev, noexec,
    noatime, nodiratime, nosymfollow) to them too, unless ``flags_recursive`` says otherwise.
    ``propagation`` private: no mount events travel; slave: the source's arrive at the target;
    shared: both ways. ``idmap`` is a descriptor of a user namespace whose ID maps the mount
    shall have.
    """

    source: str
    target: str
    flags: tuple[str, ...] = ()
    recursive: bool = True
    flags_recursive: bool | None = None
    propagation: PropagationMode = "private"
    idmap: int | None = None

    def describe(self) -> str:
        kind = "rbind" if self.recursive else "bind"
        options = [kind, *self.flags, *([] if self.idmap is None else [f"idmap=fd {self.idmap}"])]
        return f"mount -o {','.join(options)} --make-{self.propagation} {self.source} {self.target}"

    def mount(self) -> None:
        with Fd(self.open()) as tree:
            sys_mount.move_mount(tree.number, self.target)

    def open(self) -> int:
        """The finished but detached mount; it goes away with its descriptor."""
        flags = sys_mount.OPEN_TREE_CLONE | (sys_mount.AT_RECURSIVE if self.recursive else 0)
        with Fd(sys_mount.open_tree(sys_mount.AT_FDCWD, self.source, flags)) as tree:
            number = tree.number
            # The copy of a shared mount is its peer, unless it is said otherwise.
            sys_mount.mount_setattr(
                number, recursive=self.recursive, propagation=_PROPAGATION[self.propagation]
            )
            if self.idmap is not None:
                sys_mount.mount_setattr(
                    number,
                    recursive=self.recursive,
                    set_flags=sys_mount.MOUNT_ATTR_IDMAP,
                    userns_fd=self.idmap,
                )
            if self.flags:
                deep = self.recursive if self.flags_recursive is None else self.flags_recursive
                set_flags, clear_flags = _attributes(self.flags)
                sys_mount.mount_setattr(
                    number, recursive=deep, set_flags=set_flags, clear_flags=clear_flags
                )
            return tree.detach()

    def unmount(self) -> None:
        unmount_tree(self.target) if self.recursive else unmount(self.target, lazy=True)


class TmpfsMount(msgspec.Struct, frozen=True):
    """A new tmpfs at ``target``; ``size`` in bytes, 0 for the kernel's default (half the RAM)."""

    target: str
    size: int = 0
    mode: int = 0o755
    flags: tuple[str, ...] = ("nosuid", "nodev")
    source: str = "tmpfs"
    options: tuple[str, ...] = ()

    def describe(self) -> str:
        options = [*self.flags, *self._data()]
        return f"mount -t tmpfs -o {','.join(options)} {self.source} {self.target}"

    def mount(self) -> None:
        sys_mount.mount(
            self.source, self.target, "tmpfs", _old_flags(self.flags), ",".join(self._data())
        )

    def unmount(self) -> None:
        unmount(self.target, lazy=True)

    def _data(self) -> list[str]:
        size = [f"size={self.size}"] if self.size else []
        return [f"mode={self.mode:o}", *size, *self.options]


class OverlayMount(msgspec.Struct, frozen=True):
    """An overlay at ``target``: ``lower`` directories (uppermost first), and to be writable
    ``upper`` with ``work``; see overlay_mount for how more layers than fit a page are mounted.

    ``options`` are the file system's (``volatile``, ``metacopy=on``, ``userxattr``,
    ``context="…"``), ``flags`` the mount's as in BindMount.
    """

    target: str
    lower: tuple[str, ...]
    upper: str = ""
    work: str = ""
    options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    source: str = "overlay"

    def describe(self) -> str:
        from trilby.system.overlay_mount import option_string

        options = ",".join(filter(None, [*self.flags, option_string(self)]))
        return f"mount -t overlay -o {options} {self.source} {self.target}"

    def mount(self) -> None:
        from trilby.system.overlay_mount import mount_overlay

        mount_overlay(self, _old_flags(self.flags), _attributes(self.flags)[0])

    def unmount(self) -> None:
        unmount(self.target, lazy=True)


class Propagation(msgspec.Struct, frozen=True):
    """A change of how mount events travel to and from ``target``; undoing it is not possible."""

    target: str
    mode: PropagationMode
    recursive: bool = False

    def describe(self) -> str:
        return f"mount --make-{'r' if self.recursive else ''}{self.mode} {self.target}"

    def mount(self) -> None:
        flags = _PROPAGATION[self.mode] | (sys_mount.MS_REC if self.recursive else 0)
        sys_mount.mount(None, self.target, None, flags)

    def unmount(self) -> None:
        """Nothing: the mount that it changed goes away with its own value."""


class Remount(msgspec.Struct, frozen=True):
    """A change of flags of the mount at ``target``; undone by the opposite change.

    Flags as in BindMount; with ``recursive`` of all mounts below, too.
    """

    target: str
    set_flags: tuple[str, ...] = ()
    clear_flags: tuple[str, ...] = ()
    recursive: bool = False

    def describe(self) -> str:
        signs = [f"+{flag}" for flag in self.set_flags] + [f"-{flag}" for flag in self.clear_flags]
        kind = "remount,rbind" if self.recursive else "remount,bind"
        return f"mount -o {kind},{','.join(signs)} {self.target}"

    def mount(self) -> None:
        self._change(self.set_flags, self.clear_flags)

    def unmount(self) -> None:
        self._change(self.clear_flags, self.set_flags)

    def _change(self, to_set: Sequence[str], to_clear: Sequence[str]) -> None:
        set_flags, atime = _attributes(to_set)
        clear_flags = _attributes(to_clear)[0] | atime
        if clear_flags & sys_mount.MOUNT_ATTR_NOATIME:
            clear_flags |= sys_mount.MOUNT_ATTR__ATIME
        sys_mount.mount_setattr(
            sys_mount.AT_FDCWD,
            self.target,
            recursive=self.recursive,
            set_flags=set_flags,
            clear_flags=clear_flags,
        )


class Plan:
    """Mounts to be made in order and undone in reverse; as a context manager undone at the end."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self.mounts = list(mounts)
        self._made: list[Mount] = []

    def describe(self) -> list[str]:
        """The mounts, one line each."""
        return [mount.describe() for mount in self.mounts]

    def mount(self) -> None:
        """Make all, or none: what was made is undone when one fails. Raises OSError."""
        for mount in self.mounts:
            try:
                mount.mount()
            except BaseException as error:
                error.add_note(f"while mounting: {mount.describe()}")
                self.unmount()
                raise
            self._made.append(mount)

    def unmount(self) -> None:
        """Undo what was made, newest first; failures are logged and do not stop it."""
        while self._made:
            mount = self._made.pop()
            try:
                mount.unmount()
            except OSError as error:
                log.warning("undoing %s: %s", mount.describe(), error)

    def __enter__(self) -> Plan:
        self.mount()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.unmount()


def _attributes(flags: Iterable[str]) -> tuple[int, int]:
    """(attributes to set, attributes to clear first) of mount_setattr for named flags."""
    value = 0
    for flag in flags:
        value |= _named(flag)[1]
    # The atime modes are one field: the kernel wants it cleared as a whole before a change.
    atime = value & sys_mount.MOUNT_ATTR__ATIME
    return value, sys_mount.MOUNT_ATTR__ATIME if atime else 0


def _old_flags(flags: Iterable[str]) -> int:
    value = 0
    for flag in flags:
        value |= _named(flag)[0]
    return value


def _named(flag: str) -> tuple[int, int]:
    try:
        return _FLAGS[flag]
    except KeyError:
        raise OSError(errno.EINVAL, f"unknown mount flag {flag!r}") from None
