"""conmon: one process per container that holds its streams, writes its log and its exit code.

conmon runs the runtime's ``create``, becomes the parent of the container's process, and outlives
us. It tells the process number, or what the runtime said, on a pipe (``_OCI_SYNCPIPE``); writes
the exit code to a file when the container ended, and a file ``oom`` if it was for memory; listens
on ``attach`` in the bundle; and takes orders from the fifo ``ctl`` there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re

import msgspec

from trilby.pods.errors import MonitorFailed, RuntimeFailed
from trilby.pods.runtime import Runtime
from trilby.pods.state_process import start_time
from trilby.system import process
from trilby.system.events import IN_CREATE, IN_MOVED_TO, Inotify

CREATE_TIMEOUT = 240.0
REOPEN_TIMEOUT = 10.0
_RESIZE = 1
# runc's log lines: time="..." level=error msg="..."
_MESSAGE = re.compile(r'^time="[^"]*" level=\w+ msg="(.*)"$')
_REOPEN_LOG = 2


class MonitorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A container for conmon. Paths are absolute; ``log`` is ``driver:path``, see conmon(8)."""

    container_id: str
    name: str
    bundle: str
    persist_dir: str
    exits: str
    log: str
    terminal: bool = False
    stdin: bool = False
    leave_stdin_open: bool = False
    log_size_max: int = -1
    no_sync_log: bool = False


class Monitored(msgspec.Struct, frozen=True):
    """A created container: its first process and its monitor, with their start times."""

    pid: int
    pid_start: int
    monitor_pid: int
    monitor_start: int


class _Answer(msgspec.Struct):
    """What conmon writes on the pipe."""

    pid: int
    message: str = ""


def monitor_argv(conmon: str, runtime: Runtime, request: MonitorRequest) -> list[str]:
    """conmon's command line."""
    flags = {
        "--systemd-cgroup": runtime.systemd_cgroup,
        "--terminal": request.terminal,
        "--stdin": request.stdin and not request.terminal,
        "--leave-stdin-open": request.leave_stdin_open,
        "--no-sync-log": request.no_sync_log,
    }
    limits = ["--log-size-max", str(request.log_size_max)] if request.log_size_max >= 0 else []
    return [
        runtime.handler.monitor_path or conmon,
        "--cid", request.container_id,
        "--cuuid", request.container_id,
        "--name", request.name,
        "--runtime", runtime.path,
        "--runtime-arg", f"--root={runtime.root}",
        "--bundle", request.bundle,
        "--container-pidfile", f"{request.bundle}/pid",
        "--conmon-pidfile", f"{request.bundle}/conmon.pid",
        "--persist-dir", request.persist_dir,
        "--exit-dir", request.exits,
        "--log-path", request.log,
        "--log-level", "warning",
        "--syslog",
        "--full-attach",
        *limits,
        *(flag for flag, on in flags.items() if on),
    ]  # fmt: skip


async def create(conmon: str, runtime: Runtime, request: MonitorRequest) -> Monitored:
    """Start conmon and wait until the container is created.

    Raises RuntimeFailed with what the runtime said, MonitorFailed when conmon itself failed.
    """
    argv = monitor_argv(conmon, runtime, request)
    read_end, write_end = os.pipe()
    try:
        env = {**runtime.handler.monitor_env, "_OCI_SYNCPIPE": str(write_end)}
        command = process.replay_command(argv, env, request.bundle)
        try:
            # It forks, and its parent ends at once. In the bundle, because it leaves files where
            # it is (a second copy of "oom").
            started = await process.aspawn(argv, env=env, pass_fds=[write_end], cwd=request.bundle)
        finally:
            os.close(write_end)
        try:
            async with asyncio.timeout(CREATE_TIMEOUT):
                line, status = await asyncio.gather(_read_line(read_end), started.wait())
        except TimeoutError:
            raise MonitorFailed(
                f"conmon for {request.container_id} said nothing for {CREATE_TIMEOUT:g} s",
                hint=f"again: {command}",
            ) from None
        finally:
            await started.close()
    finally:
        os.close(read_end)
    if not line:
        stderr = started.stderr().decode(errors="replace").strip()
        raise MonitorFailed(
            f"conmon for {request.container_id}: {process.describe_status(status)}: "
            f"{stderr or 'it said nothing'}",
            hint=f"again: {command}",
        )
    answer = _parse(line, command)
    if answer.pid <= 0:
        raise RuntimeFailed(
            f"{runtime.name} create: {_tidy(answer.message) or 'failed and said nothing'}",
            hint=f"again: {runtime.create_command(request.container_id, request.bundle)}",
        )
    monitor_pid = read_pid(f"{request.bundle}/conmon.pid")
    return Monitored(answer.pid, start_time(answer.pid), monitor_pid, start_time(monitor_pid))


def read_pid(path: str) -> int:
    """The number in a pid file; 0 if there is none."""
    try:
        with open(path) as file:
            return int(file.read().strip() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def resize(bundle: str, rows: int, columns: int) -> None:
    """Tell the container's terminal its size. Raises MonitorFailed."""
    _control(bundle, f"{_RESIZE} {rows} {columns}\n")


async def reopen_log(bundle: str, log_path: str, timeout: float = REOPEN_TIMEOUT) -> None:
    """Have conmon reopen the log file, and wait until it is there.

    Raises MonitorFailed, also when conmon does not do it within ``timeout`` seconds.
    """
    directory, name = os.path.split(log_path)
    with contextlib.closing(Inotify([directory], IN_CREATE | IN_MOVED_TO)) as changes:
        _control(bundle, f"{_REOPEN_LOG} 0 0\n")
        try:
            async with asyncio.timeout(timeout):
                async for change in changes:
                    # conmon makes a file beside it, and renames that.
                    if change.name == name or change.overflow:
                        return
        except TimeoutError:
            raise MonitorFailed(
                f"reopening log {log_path}: conmon did not do it within {timeout:.0f} s"
            ) from None


def _control(bundle: str, order: str) -> None:
    path = f"{bundle}/ctl"
    try:
        # Not blocking: without a living conmon nobody has the other end, and that is an error.
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "conmon is gone" if error.errno in (errno.ENXIO, errno.ENOENT) else error.strerror
        raise MonitorFailed(f"ordering {order.strip()!r} by {path}: {why}") from error
    try:
        os.write(fd, order.encode())
    except OSError as error:
        raise MonitorFailed(f"ordering {order.strip()!r} by {path}: {error.strerror}") from error
    finally:
        os.close(fd)


def _parse(line: bytes, command: str) -> _Answer:
    try:
        return msgspec.json.decode(line, type=_Answer)
    except msgspec.DecodeError as error:
        raise MonitorFailed(
            f"conmon answered {line[:200]!r}: {error}", hint=f"again: {command}"
        ) from error


def _tidy(message: str) -> str:
    """What the runtime said, without its log's decoration: one line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    found = [_MESSAGE.search(line) for line in lines]
    said = [
        match[1].replace('\\"', '"') if match else line
        for match, line in zip(found, lines, strict=True)
    ]
    return "; ".join(said)


async def _read_line(fd: int) -> bytes:
    """Everything up to a line feed, or to the end."""
    os.set_blocking(fd, False)
    loop = asyncio.get_running_loop()
    found: asyncio.Future[bytes] = loop.create_future()
    data = bytearray()

    def readable() -> None:
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return
        data.extend(chunk)
        if (not chunk or b"\n" in chunk) and not found.done():
            found.set_result(bytes(data))

    loop.add_reader(fd, readable)
    try:
        return await found
    finally:
        loop.remove_reader(fd)
