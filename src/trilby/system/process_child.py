"""A started child process: its environment, pipes, pidfd, exit status, and how failures read."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from trilby.system.errors import HostError
from trilby.system.process_pump import Feeder, Reader

log = logging.getLogger(__name__)

OUTPUT_LIMIT: Final = 16 << 20
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Settings of the person or service that started us which programs below need as well.
_PASSED_ON: Final = ("HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "TMPDIR")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_STDERR_IN_MESSAGE: Final = 2000

# Children started here, whose exit status belongs to their Child object; see process_orphans.
spawn_guard = threading.Lock()
own_children: set[int] = set()


class Completed(msgspec.Struct, frozen=True):
    """A process that ended. ``returncode`` is negative when a signal ended it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes
    # A stream had more than OUTPUT_LIMIT bytes; the rest was read and thrown away.
    truncated: bool = False

    @property
    def text(self) -> str:
        """Standard output as text, without the last line ends."""
        return self.stdout.decode(errors="replace").rstrip("\n")


class CommandFailed(HostError):
    """A command could not start, failed, or took too long; ``command`` can be pasted in a shell."""

    def __init__(
        self,
        argv: Sequence[str],
        reason: str,
        *,
        command: str,
        returncode: int | None = None,
        stdout: bytes = b"",
        stderr: bytes = b"",
        timed_out: bool = False,
        hint: str = "",
    ) -> None:
        said = (stderr or stdout)[-_STDERR_IN_MESSAGE:].decode(errors="replace").strip()
        super().__init__(f"{command}: {reason}" + (f": {said}" if said else ""), hint=hint)
        self.argv = tuple(argv)
        self.command = command
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        self.timed_out = timed_out


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child, from nothing: path, locale, a short list of ours, ``extra``.

    The path is ours, followed by the usual system directories where it lacks them.
    """
    ours = os.environ.get("PATH", "").split(":")
    folders = dict.fromkeys(folder for folder in ours if folder.startswith("/"))
    built = {"PATH": ":".join(folders | dict.fromkeys(DEFAULT_PATH.split(":"))), "LANG": "C.UTF-8"}
    for name in (*_PASSED_ON, *_PROXIES):
        if name in os.environ:
            built[name] = os.environ[name]
    if extra:
        built.update(extra)
    return built


def replay_command(
    argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None
) -> str:
    """The shell line that runs the same command again."""
    words = [f"{name}={value}" for name, value in (env or {}).items()]
    line = shlex.join((["env", *words] if words else []) + list(argv))
    return f"cd {shlex.quote(cwd)} && {line}" if cwd else line


def describe_status(returncode: int) -> str:
    """``exit status 3``, or ``killed by SIGKILL`` for -9."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


class Child:
    """A started process with its pipes and pidfd; what run(), arun() and aspawn() stand on."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes | int | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
        own_group: bool = True,
    ) -> None:
        self.argv = tuple(argv)
        self.own_group = own_group
        self.returncode: int | None = None
        self.pidfd = -1
        self._replay = (env, cwd)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("running %s", replay_command(argv, env, cwd))
        try:
            with spawn_guard:
                self._popen = subprocess.Popen(
                    self.argv,
                    stdin=_stdin_of(stdin),
                    stdout=stdout,
                    stderr=stderr,
                    bufsize=0,
                    env=environment(env),
                    cwd=cwd,
                    pass_fds=pass_fds,
                    process_group=0 if own_group else None,
                )
                self.pid = self._popen.pid
                own_children.add(self.pid)
        except FileNotFoundError as error:
            raise self._missing(cwd) from error
        except (OSError, ValueError) as error:
            raise self.failed(f"cannot be started: {error}") from error
        self.readers = [
            Reader(pipe.fileno(), OUTPUT_LIMIT) if pipe else None
            for pipe in (self._popen.stdout, self._popen.stderr)
        ]
        self.feeder: Feeder | None = None
        if isinstance(stdin, bytes) and self._popen.stdin:
            self.feeder = Feeder(self._popen.stdin, stdin)
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            self.kill()
            self.reap(block=True)
            self.close()
            raise self.failed(f"cannot be watched: {error}") from error

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the process group, or the process when it has none of its own; gone is fine."""
        if self.returncode is not None:
            return
        try:
            if self.own_group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def reap(self, *, block: bool = False) -> bool:
        """Take the exit status if there is one; with ``block`` wait for it."""
        if self.returncode is None:
            self.returncode = self._popen.wait() if block else self._popen.poll()
            if self.returncode is not None:
                own_children.discard(self.pid)
        return self.returncode is not None

    def finish_output(self) -> None:
        """After the exit: take what is in the pipes now, then close everything."""
        for reader in self.readers:
            if reader:
                reader.drain()
        self.close()

    def close(self) -> None:
        """Close the pipes and the pidfd."""
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe:
                pipe.close()
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)

    def output(self, index: int) -> bytes:
        """What stdout (0) or stderr (1) had so far; empty when not captured."""
        reader = self.readers[index]
        return reader.data() if reader else b""

    def completed(self, check: bool, exceeded: float | None = None) -> Completed:
        """The result, or CommandFailed."""
        code = self.returncode
        assert code is not None
        if exceeded is not None:
            raise self.failed(f"did not end within {exceeded:g} s and was killed", timed_out=True)
        if check and code != 0:
            raise self.failed(describe_status(code))
        truncated = any(reader.truncated for reader in self.readers if reader)
        return Completed(self.argv, code, self.output(0), self.output(1), truncated)

    def failed(self, reason: str, *, timed_out: bool = False, hint: str = "") -> CommandFailed:
        started = hasattr(self, "readers")
        return CommandFailed(
            self.argv,
            reason,
            command=replay_command(self.argv, *self._replay),
            returncode=self.returncode,
            stdout=self.output(0) if started else b"",
            stderr=self.output(1) if started else b"",
            timed_out=timed_out,
            hint=hint,
        )

    def _missing(self, cwd: str | None) -> CommandFailed:
        if cwd is not None and not os.path.isdir(cwd):
            return self.failed(f"cannot be started: there is no directory {cwd}")
        return self.failed(
            f"cannot be started: {self.argv[0]} is not installed",
            hint="install it, or configure the path of another program",
        )


def _stdin_of(stdin: bytes | int | None) -> int:
    if isinstance(stdin, bytes):
        return subprocess.PIPE
    return subprocess.DEVNULL if stdin is None else stdin
