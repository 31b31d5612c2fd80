"""Reading files of a root file system that somebody else filled: links cannot lead out of it."""

from __future__ import annotations

import os
import stat

from trilby.pods.errors import InvalidPodConfig
from trilby.system.files import Fd, read_all
from trilby.system.syscalls_file import open_in_root

MAX_FILE = 4 << 20


def read_in_root(rootfs: str, path: str) -> str:
    """The text of a regular file, empty when there is none. Raises ``InvalidPodConfig``."""
    with Fd(os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        try:
            # O_NONBLOCK: a FIFO in the image must not stop us.
            number = open_in_root(root.fileno(), path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return ""
        with Fd(number) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return ""
            if status.st_size > MAX_FILE:
                raise InvalidPodConfig(f"the image's {path} is larger than {MAX_FILE} bytes")
            return read_all(file.fileno(), MAX_FILE).decode(errors="surrogateescape")


def directory_in_root(root: str, sub_path: str) -> str:
    """The real path of ``sub_path`` below ``root``. Raises ``InvalidPodConfig`` without one."""
    with Fd(os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as top:
        try:
            with Fd(open_in_root(top.fileno(), sub_path, os.O_PATH)) as found:
                return os.readlink(f"/proc/self/fd/{found.fileno()}")
        except OSError as error:
            raise InvalidPodConfig(
                f"the image volume has no {sub_path!r}: {error.strerror}"
            ) from error
