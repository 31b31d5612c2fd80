"""SELinux labels of files: the extended attribute security.selinux, as setfilecon(3) writes it.

A file is never reached by a path that somebody else could change meanwhile: its label is set
through a descriptor of the file itself, also that of a symbolic link.
"""

from __future__ import annotations

import errno
import os
import stat

from trilby.system.files import Fd
from trilby.system.syscalls_file import open_in_root

ATTRIBUTE = "security.selinux"
_ALONE = os.O_PATH | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def has_labels() -> bool:
    """Whether this host has SELinux with a policy, enforced or not.

    A kernel that has none yet labels nothing, and takes no label: processes are just the kernel's.
    """
    if not os.path.exists("/sys/fs/selinux/enforce"):
        return False
    try:
        with open("/proc/self/attr/current", "rb") as file:
            return file.read().rstrip(b"\0\n") not in (b"", b"kernel")
    except OSError:
        return False


def set_label(path: str, label: str) -> None:
    """Label one file. Nothing where the file system has no labels. Raises OSError."""
    with Fd.open(path, _ALONE) as file:
        _label(file.number, label.encode())


def label_tree(path: str, label: str) -> None:
    """Label a file, or a directory and all that is in it; links are labelled, not followed.

    Files that come or go meanwhile are no error. Raises OSError.
    """
    wanted = label.encode()
    with Fd.open(path, _ALONE) as root:
        _label(root.number, wanted)
        if not stat.S_ISDIR(os.fstat(root.number).st_mode):
            return
        todo = ["."]
        while todo:
            place = todo.pop()
            try:
                opened = open_in_root(root.number, place, _FOLDER)
            except (FileNotFoundError, NotADirectoryError):
                continue
            with Fd(opened) as folder:
                todo += [f"{place}/{name}" for name in _label_entries(folder.number, wanted)]


def _label_entries(folder: int, label: bytes) -> list[str]:
    """Label what is in a directory; the names of directories in it."""
    below = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                with Fd.open(entry.name, _ALONE, dir_fd=folder) as file:
                    _label(file.number, label)
            except FileNotFoundError:
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
    return below


def _label(fd: int, label: bytes) -> None:
    """Write it unless it is there, which keeps the time of the file's change."""
    itself = f"/proc/self/fd/{fd}"
    try:
        if os.getxattr(itself, ATTRIBUTE).rstrip(b"\0") == label:
            return
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        if error.errno != errno.ENODATA:
            raise
    try:
        os.setxattr(itself, ATTRIBUTE, label)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
