"""The host that is looked at: its files, below any directory, and what only a live one answers.

Links are followed as on that host: an absolute one stays below its root.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.errors import NoHost
from trilby.system import process
from trilby.system.clock import ClockState, clock_state
from trilby.system.directory_types import has_types
from trilby.system.files import Fd, read_all
from trilby.system.syscalls_file import open_in_root

if TYPE_CHECKING:
    from trilby.node.processes import Process

__all__ = ["PATH", "Host", "Said", "Space"]

#: Where a host's programs are, as systemd's units have it.
PATH: Final = (
    *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
)  # fmt: skip
LIMIT: Final = 4 << 20
RUN_SECONDS: Final = 15.0
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class Space(msgspec.Struct, frozen=True):
    """A file system's room: bytes and inodes, all and free. No inodes: they are not counted."""

    size: int
    free: int
    inodes: int
    inodes_free: int


class Said(msgspec.Struct, frozen=True):
    """What a program printed; ``problem`` says why it could not be run, or that it failed."""

    text: str
    problem: str = ""

    @property
    def line(self) -> str:
        """The first line of it."""
        return (self.text.strip().splitlines() or [""])[0]


class Host:
    """``live`` hosts answer more than their files say; the running one is."""

    def __init__(self, root: str = "/", *, live: bool | None = None) -> None:
        self.root = os.path.realpath(root)
        self.live = self.root == "/" if live is None else live
        try:
            self._fd = Fd.open(self.root, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise NoHost(f"--root {root}: {error.strerror}") from error
        #: The directory of a process that sees the host as it is.
        self.proc = "/proc/self" if self.root == "/" else "/proc/1"
        #: What trilby.node.processes has found.
        self.processes: dict[str, list[Process]] = {}
        self._said: dict[tuple[str, ...], Said] = {}
        self._locks: dict[tuple[str, ...], threading.Lock] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give the root directory back; whatever is asked after this fails."""
        self._fd.close()

    def path(self, path: str) -> str:
        """Where a path of the host is for this process, for readers that take paths."""
        return path if self.root == "/" else self.root + path

    def open(self, path: str, flags: int = os.O_RDONLY) -> Fd | None:
        """A file of the host, None if it is not there. Raises OSError."""
        if not flags & os.O_PATH:
            flags |= os.O_NONBLOCK | os.O_NOCTTY
        try:
            return Fd(open_in_root(self._fd.number, path, flags))
        except _ABSENT:
            return None

    def read(self, path: str) -> str | None:
        """A file's text, None if it is not there or has none (a directory). Raises OSError."""
        fd = self.open(path)
        if fd is None:
            return None
        with fd:
            if stat.S_ISDIR(os.fstat(fd.number).st_mode):
                return None
            return read_all(fd.number, LIMIT).decode(errors="replace")

    def word(self, path: str) -> str:
        """The text of a file of one line, as /proc and /sys have them; "" if it is not there."""
        return (self.read(path) or "").strip()

    def lines(self, path: str) -> Iterator[tuple[int, str]]:
        """Number and text of the lines that say something: no comments, no empty ones."""
        for number, line in enumerate((self.read(path) or "").splitlines(), 1):
            text = line.strip()
            if text and not text.startswith(("#", ";")):
                yield number, text

    def exists(self, path: str) -> bool:
        """Whether there is something; a link counts as itself."""
        fd = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        if fd is not None:
            fd.close()
        return fd is not None

    def stat(self, path: str) -> os.stat_result | None:
        """What is there, links followed."""
        fd = self.open(path, os.O_PATH)
        if fd is None:
            return None
        with fd:
            return os.fstat(fd.number)

    def is_directory(self, path: str) -> bool:
        found = self.stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def names(self, path: str) -> list[str]:
        """What a directory has, sorted; nothing if there is none. Raises OSError."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        if fd is None:
            return []
        with fd:
            return sorted(os.listdir(fd.number))

    def parent(self, path: str) -> str:
        """The path, or the nearest directory above it that is there."""
        while path != "/" and not self.is_directory(path):
            path = os.path.dirname(path)
        return path

    def space(self, path: str) -> Space:
        """The room of the file system that ``path`` is or will be on. Raises OSError."""
        fd = self.open(self.parent(path), os.O_PATH)
        assert fd is not None, "the root is there"
        with fd:
            found = os.statvfs(fd.number)
        # f_bavail: what root alone may use is no room for images.
        unit = found.f_frsize
        return Space(
            found.f_blocks * unit, found.f_bavail * unit, found.f_files, found.f_favail
        )  # fmt: skip

    def tells_types(self, path: str) -> bool:
        """Whether directory entries have their types (d_type). Raises OSError."""
        fd = self.open(self.parent(path), os.O_RDONLY | os.O_DIRECTORY)
        assert fd is not None, "the root is there"
        with fd:
            return has_types(fd.number)

    def clock(self) -> ClockState:
        """What the kernel knows of its clock. Raises OSError."""
        return clock_state()

    def label(self, path: str) -> str:
        """The SELinux label of a file. Raises OSError where it has none."""
        return os.getxattr(self.path(path), "security.selinux").decode().rstrip("\0")

    def python(self) -> tuple[int, ...]:
        """The version of the interpreter that runs this; empty where it is not the host's."""
        return sys.version_info[:3] if self.root == "/" else ()

    def resolve(self, name: str) -> str:
        """An address of a name; asks who is asked for names here. Raises OSError."""
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return str(found[0][4][0])

    def dial(self, address: str, port: int, seconds: float) -> socket.socket:
        """A connection by TCP. Raises OSError."""
        return socket.create_connection((address, port), seconds)

    def sync_times(self, path: str, writes: int, seconds: float) -> list[float]:
        """Seconds that the disk below ``path`` takes to make a write safe. Raises OSError."""
        from trilby.system.disk_latency import sync_times

        return sync_times(self.path(path), writes, seconds)

    def packages(self) -> Said:
        """NAME, a tab and EPOCH:VERSION-RELEASE.ARCH of each package that RPM knows."""
        form = "%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\n"
        if self.root == "/" or self.live:
            program = self.which("rpm")
            return (
                self.run(program, "-qa", "--qf", form) if program else Said("", "there is no rpm")
            )
        try:
            done = process.run(
                ["rpm", "--root", self.root, "-qa", "--qf", form], timeout=RUN_SECONDS
            )  # fmt: skip
        except process.CommandFailed as error:
            return Said("", error.message)
        return Said(done.stdout.decode(errors="replace"))

    def try_overlay(self, path: str) -> str:
        """Why an overlay cannot be mounted with its upper layer below ``path``; "" if it can.

        In a mount namespace of its own, and in a directory that is gone afterwards. Raises OSError.
        """
        import tempfile

        with tempfile.TemporaryDirectory(prefix=".trilby-check-", dir=self.path(path)) as place:
            for name in ("lower", "upper", "work", "merged"):
                os.mkdir(f"{place}/{name}")
            options = "lowerdir=lower,upperdir=upper,workdir=work"
            try:
                process.run(
                    [
                        *("unshare", "--mount", "--propagation", "private"),
                        *("mount", "-t", "overlay", "-o", options, "overlay", "merged"),
                    ],
                    cwd=place,
                    timeout=RUN_SECONDS,
                )
            except process.CommandFailed as error:
                return (error.stderr.decode(errors="replace").strip() or error.message)[-300:]
            return ""

    def which(self, name: str, folders: Sequence[str] = PATH) -> str:
        """The host's path of a program, "" if it is not there or not executable."""
        for path in [name] if "/" in name else [f"{folder}/{name}" for folder in folders]:
            found = self.stat(path)
            if found and stat.S_ISREG(found.st_mode) and found.st_mode & 0o111:
                return path
        return ""

    def run(self, *argv: str, env: tuple[tuple[str, str], ...] = ()) -> Said:
        """What a program of the host says; it is asked once, whoever wants to know."""
        key = (*argv, *(f"{name}={value}" for name, value in env))
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._said:
                self._said[key] = self._run(argv, dict(env))
            return self._said[key]

    def _run(self, argv: Sequence[str], env: dict[str, str]) -> Said:
        program, *arguments = argv
        try:
            done = process.run([self.path(program), *arguments], env=env, timeout=RUN_SECONDS)
        except process.CommandFailed as error:
            said = (error.stderr or error.stdout).decode(errors="replace").strip()
            last = said.splitlines()[-1] if said else error.message
            return Said(error.stdout.decode(errors="replace"), last)
        return Said(done.stdout.decode(errors="replace"))
