"""Commands in running containers, by the runtime's own exec; no monitor in between.

The runtime is asked to detach: it starts the process and ends. The process then is our child,
because we are a subreaper, with the caller's descriptors as its own: what it leaves in the
background keeps nobody waiting, and its exit status comes from the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import socket
import struct
import termios

import msgspec

from trilby.pods.engine_parts import Parts
from trilby.pods.errors import ExecTimeout, RuntimeFailed, WrongContainerState
from trilby.pods.exec_output import Collector
from trilby.pods.exec_process import exec_process
from trilby.pods.model_status import ContainerState
from trilby.pods.monitor import read_pid
from trilby.pods.runtime import Runtime, said, warm_cgroups
from trilby.pods.state import ContainerRecord
from trilby.pods.state_process import descendants
from trilby.system import process
from trilby.system.events import wait_pidfd
from trilby.system.files import Fd, read_all, remove_tree
from trilby.system.process_child import own_children

START_TIMEOUT = 60.0


class ExecStreams(msgspec.Struct, frozen=True, kw_only=True):
    """Descriptors of the caller's, duplicated into the command; None is /dev/null.

    Without a terminal only: with one, the session has the terminal's other end.
    """

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None


class ExecResult(msgspec.Struct, frozen=True):
    """``truncated``: a stream had more than the limit, the rest was thrown away."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A command. ``user`` is ``uid[:gid]``; empty fields are the container's own."""

    argv: tuple[str, ...]
    tty: bool = False
    user: str = ""
    working_dir: str = ""
    env: tuple[str, ...] = ()


class ExecSession:
    """A command that runs in a container. wait() for it; close() kills it if it still runs.

    ``terminal`` is the master of its terminal (-1 without one), owned by the session.
    """

    def __init__(self, pid: int, pidfd: int, terminal: int) -> None:
        self.pid = pid
        self.terminal = terminal
        self._pidfd = pidfd
        self._code: asyncio.Task[int] = asyncio.create_task(self._wait(), name=f"exec-{pid}")

    async def wait(self) -> int:
        """The exit code; 128 plus the number of the signal that ended it."""
        return await asyncio.shield(self._code)

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; the kernel tells the foreground processes."""
        if self.terminal >= 0:
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def kill(self) -> None:
        """SIGKILL for the command and everything that it started."""
        if not self._code.done():
            kill_tree(self.pid, self._pidfd)

    async def close(self) -> None:
        """Kill what still runs, and give back the terminal."""
        self.kill()
        await self.wait()
        terminal, self.terminal = self.terminal, -1
        if terminal >= 0:
            os.close(terminal)

    async def _wait(self) -> int:
        try:
            await wait_pidfd(self._pidfd)
            status = process.reap(self.pid)
        finally:
            own_children.discard(self.pid)
            os.close(self._pidfd)
        if status is None:
            raise RuntimeFailed(f"exec: the status of process {self.pid} was taken by another")
        return status if status >= 0 else 128 - status


async def start_exec(
    parts: Parts, container_id: str, request: ExecRequest, streams: ExecStreams
) -> ExecSession:
    """See Engine.exec."""
    record = running(parts, container_id)
    with parts.traces.stage(record.sandbox_id, "exec", subject=record.config.name):
        return await _start_exec(parts, record, request, streams)


async def _start_exec(
    parts: Parts, record: ContainerRecord, request: ExecRequest, streams: ExecStreams
) -> ExecSession:
    runtime = parts.runtimes.get(record.handler)
    process.become_subreaper()
    warm_cgroups()
    document = exec_process(parts.layout.bundle(record.id), **msgspec.structs.asdict(request))
    async with _Start(parts.layout.execs, request.tty, document) as start:
        if request.tty:
            streams = ExecStreams()
        try:
            await process.arun(
                exec_argv(runtime, record.id, start),
                stdin=streams.stdin,
                stdout=process.DISCARD if streams.stdout is None else streams.stdout,
                stderr=process.DISCARD if streams.stderr is None else streams.stderr,
                pass_fds=start.pass_fds(),
                timeout=START_TIMEOUT,
            )
        except process.CommandFailed as error:
            raise RuntimeFailed(
                f"exec in container {record.config.name}: {start.reason() or said(error)}",
                hint=f"again: {runtime.exec_command(record.id, request.argv)}",
            ) from error
        pid = read_pid(f"{start.folder}/pid")
        if not pid:
            raise RuntimeFailed(f"exec: {runtime.name} did not tell the process' number")
        own_children.add(pid)
        return ExecSession(pid, os.pidfd_open(pid), await start.terminal())


class _Start:
    """What the runtime needs while it starts a command: a folder, a log, a console socket."""

    def __init__(self, parent: str, tty: bool, document: bytes) -> None:
        self._document = document
        self.folder = f"{parent}/{os.urandom(8).hex()}"
        self._tty = tty
        self._log = Fd(-1)
        self._directory = Fd(-1)
        self._console: socket.socket | None = None

    async def __aenter__(self) -> _Start:
        os.mkdir(self.folder, 0o700)
        with open(f"{self.folder}/process.json", "wb") as file:
            file.write(self._document)
        self._log = Fd(os.memfd_create("log"))
        if self._tty:
            # By way of a descriptor: socket paths are limited to 107 bytes.
            self._directory = Fd.open(self.folder, os.O_PATH | os.O_DIRECTORY)
            self._console = socket.socket(socket.AF_UNIX)
            self._console.bind(f"/proc/self/fd/{self._directory.number}/console")
            self._console.listen(1)
            self._console.setblocking(False)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._log.close()
        self._directory.close()
        if self._console is not None:
            self._console.close()
        remove_tree(self.folder)

    def pass_fds(self) -> list[int]:
        """Descriptors that the runtime has to inherit."""
        return [fd.number for fd in (self._log, self._directory) if fd.number >= 0]

    def flags(self) -> list[str]:
        """Flags of the runtime itself."""
        return ["--log", f"/proc/self/fd/{self._log.number}", "--log-format", "json"]

    def options(self) -> list[str]:
        """Options of exec."""
        console = f"/proc/self/fd/{self._directory.number}/console"
        terminal = ["--tty", "--console-socket", console] if self._tty else []
        files = ["--pid-file", f"{self.folder}/pid", "--process", f"{self.folder}/process.json"]
        return ["--detach", *files, *terminal]

    def reason(self) -> str:
        """The last error of the runtime's log."""
        os.lseek(self._log.number, 0, os.SEEK_SET)
        return last_error(read_all(self._log.number))

    async def terminal(self) -> int:
        """The terminal's master that the runtime sent; -1 without a terminal."""
        if self._console is None:
            return -1
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(START_TIMEOUT):
            connection, _ = await loop.sock_accept(self._console)
        with connection:
            connection.setblocking(True)
            _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        if not fds:
            raise RuntimeFailed("exec: the runtime sent no terminal")
        os.set_inheritable(fds[0], False)
        return fds[0]


def last_error(log: bytes) -> str:
    """The last error of a runtime's log; empty without one.

    runc writes an object in a line, crun from 1.28 on one over several.
    """
    for found in reversed(re.findall(rb"^{.*?}$", log, re.DOTALL | re.MULTILINE)):
        try:
            entry = msgspec.json.decode(found, type=dict[str, str])
        except msgspec.DecodeError:
            continue
        if entry.get("level") in ("error", "fatal"):
            return entry.get("msg", "")
    return ""


def running(parts: Parts, container_id: str) -> ContainerRecord:
    """The record of a running container. Raises WrongContainerState, ContainerNotFound."""
    status = parts.inventory.container(container_id)
    if status.state is not ContainerState.RUNNING:
        raise WrongContainerState(
            f"container {status.name} ({status.id[:12]}) is {status.state.lower()}, not running"
        )
    return parts.layout.load_container(status.sandbox_id, status.id)


def exec_argv(runtime: Runtime, container_id: str, start: _Start) -> list[str]:
    """The runtime's command line."""
    verb = runtime.argv("exec", *start.options(), container_id)
    at = verb.index("exec")
    return [*verb[:at], *start.flags(), *verb[at:]]


async def exec_sync(
    parts: Parts, container_id: str, request: ExecRequest, timeout: float | None
) -> ExecResult:
    """See Engine.exec_sync."""
    limit = parts.config.exec_output_limit
    with Collector(limit) as out, Collector(limit) as err:
        streams = ExecStreams(stdout=out.write_end, stderr=err.write_end)
        session = await start_exec(parts, container_id, request, streams)
        out.close_write_end()
        err.close_write_end()
        try:
            async with asyncio.timeout(timeout or None):
                code = await session.wait()
        except TimeoutError:
            session.kill()
            await session.wait()
            raise ExecTimeout(
                f"{' '.join(request.argv)}: killed after {timeout:g} s", hint="raise the timeout"
            ) from None
        finally:
            await asyncio.shield(session.close())
        # What a background process may still write is not ours to wait for.
        return ExecResult(code, out.take(), err.take(), out.truncated or err.truncated)


def kill_tree(pid: int, pidfd: int) -> None:
    """Kill a process with its descendants; they are stopped first, so that none forks away."""
    found: dict[int, int] = {pid: pidfd}
    with contextlib.ExitStack() as stack:
        new = found
        while new:
            for fd in new.values():
                _send(fd, signal.SIGSTOP)
            new = {}
            for child in set(descendants(pid)) - found.keys():
                with contextlib.suppress(ProcessLookupError):
                    new[child] = os.pidfd_open(child)
                    stack.callback(os.close, new[child])
            found |= new
        for fd in found.values():
            _send(fd, signal.SIGKILL)


def _send(pidfd: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
