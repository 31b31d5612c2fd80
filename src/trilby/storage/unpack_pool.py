"""Worker processes that unpack layers: started when needed, used again, gone when idle."""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from trilby.storage.tarerrors import CorruptLayer, LayerWriteError, UnsafeLayer
from trilby.storage.unpack_job import Job, Totals
from trilby.storage.unpack_worker import IDLE_SECONDS, decode_totals, encode_job
from trilby.system.process_child import Child, CommandFailed, describe_status

_log = logging.getLogger(__name__)
_CHUNK = 256 * 1024
_PIPE_SIZE = 1 << 20
_MAX_WORKERS = max(1, min(4, len(os.sched_getaffinity(0))))
_TIDY = IDLE_SECONDS + 0.5  # seconds after which an idle worker has left
_PATIENCE = 2.0  # seconds to wait for a worker while all are busy
_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = (
    "import sys; sys.path[:0] = sys.argv[1:];from trilby.storage.unpack_worker import main; main()"
)


class WorkerGone(Exception):
    """The worker ended before it had begun: nothing of the layer was read."""


class Worker:
    """One process and its pipes; used by one thread at a time."""

    def __init__(self) -> None:
        their_input, self._to = os.pipe()
        self._from, their_output = os.pipe()
        try:
            _enlarge(self._to)
            # Without the site module: it would take longer than all the rest of the start.
            paths = dict.fromkeys((_PACKAGES, *filter(os.path.isabs, sys.path)))
            argv = [sys.executable, "-I", "-S", "-c", _BOOT, *paths]
            self._child = Child(argv, stdin=their_input, stdout=their_output, stderr=-3)
        except BaseException:
            os.close(self._to)
            os.close(self._from)
            raise
        finally:
            os.close(their_input)
            os.close(their_output)

    def alive(self) -> bool:
        """Whether the process is there; reaps it if not."""
        return not self._child.reap()

    def stop(self) -> None:
        """End the process and reap it."""
        self._child.kill()
        self._child.reap(block=True)
        self._child.close()
        for fd in (self._to, self._from):
            os.close(fd)
        self._to = self._from = -1

    def unpack(self, job: Job, read: Callable[[int], bytes]) -> Totals:
        """Do one job. WorkerGone means that `read` was not called; any error ends the worker."""
        root = os.readlink(f"/proc/self/fd/{job.root}")
        try:
            self._send(encode_job(job, root))
            first = self._receive()
        except (BrokenPipeError, EOFError):
            raise WorkerGone from None
        if first != b"ready":
            raise _error(first)
        try:
            while chunk := read(_CHUNK):
                self._send(chunk)
            self._send(b"")
        except BrokenPipeError:
            pass  # it has answered already, and left
        try:
            answer = self._receive()
        except EOFError:
            self._child.reap(block=True)
            status = describe_status(self._child.returncode or 0)
            raise LayerWriteError(
                f"cannot unpack the layer: the process that did it ended: {status}",
                hint="the kernel's log says if memory ran out",
            ) from None
        if not answer.startswith(b"ok\0"):
            raise _error(answer)
        return decode_totals(answer)

    def _send(self, message: bytes) -> None:
        length = len(message).to_bytes(4, "big")
        written = os.writev(self._to, (length, message))
        if written < 4 + len(message):
            rest = memoryview(length + message)[written:]
            while rest:
                rest = rest[os.write(self._to, rest) :]

    def _receive(self) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(4), "big"))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = os.read(self._from, size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data


def _enlarge(fd: int) -> None:
    try:
        fcntl.fcntl(fd, 1031, _PIPE_SIZE)  # F_SETPIPE_SZ, which Python 3.11 may lack
    except OSError:
        pass  # the user's limit for pipes: slower, but works


def _error(message: bytes) -> Exception:
    _, kind, text, hint, number, name = message.decode(errors="replace").split("\0")
    if kind == "CorruptLayer":
        return CorruptLayer(text, hint=hint)
    if kind == "UnsafeLayer":
        return UnsafeLayer(text, hint=hint)
    if kind == "LayerWriteError":
        return LayerWriteError(text, errno=int(number), hint=hint)
    if number != "0":
        return OSError(int(number), text, name or None)
    return LayerWriteError(f"cannot unpack the layer: {kind}: {text}", hint=hint)


class Pool:
    """The process's workers. Thread-safe."""

    def __init__(self, limit: int = _MAX_WORKERS) -> None:
        self._idle: list[Worker] = []
        self._busy = 0
        self._limit = limit
        self._change = threading.Condition()
        self._tidying: threading.Timer | None = None

    def warm_up(self, count: int) -> None:
        """Have `count` workers (at most the limit) ready or starting."""
        while True:
            with self._change:
                self._bury()
                if len(self._idle) + self._busy >= min(count, self._limit):
                    return
                self._idle.append(Worker())
                self._tidy_later()

    def take(self) -> Worker | None:
        """Return a worker, started if need be; None if all stay busy for a while."""
        deadline = time.monotonic() + _PATIENCE
        with self._change:
            self._bury()
            while not self._idle and self._busy >= self._limit:
                left = deadline - time.monotonic()
                if left <= 0 or not self._change.wait(left):
                    return None
            worker = self._idle.pop() if self._idle else Worker()
            self._busy += 1
            return worker

    def give_back(self, worker: Worker, *, usable: bool) -> None:
        """Take a worker back, or end it."""
        if not usable:
            worker.stop()
        with self._change:
            self._busy -= 1
            if usable:
                self._idle.append(worker)
                self._tidy_later()
            self._change.notify()

    def _tidy_later(self) -> None:
        """A daemon that pulls nothing for long shall not keep the dead and their pipes."""
        if self._tidying is None:
            self._tidying = threading.Timer(_TIDY, self._tidy)
            self._tidying.daemon = True
            self._tidying.start()

    def _tidy(self) -> None:
        with self._change:
            self._tidying = None
            self._bury()
            if self._idle:
                self._tidy_later()

    def _bury(self) -> None:
        for worker in [worker for worker in self._idle if not worker.alive()]:
            self._idle.remove(worker)
            worker.stop()

    def close(self) -> None:
        """End the idle workers."""
        with self._change:
            idle, self._idle = self._idle, []
            if self._tidying is not None:
                self._tidying.cancel()
                self._tidying = None
        for worker in idle:
            worker.stop()

    def unpack(self, job: Job, read: Callable[[int], bytes]) -> Totals | None:
        """Do a job in a worker; None if there is none to be had (then `read` was not called)."""
        for _ in range(3):
            try:
                worker = self.take()
            except CommandFailed as error:
                _log.warning("cannot start a worker, unpacking without: %s", error)
                return None
            if worker is None:
                return None
            usable = False
            try:
                totals = worker.unpack(job, read)
                usable = True
                return totals
            except WorkerGone:
                continue  # it had just left for being idle
            finally:
                self.give_back(worker, usable=usable)
        _log.warning("workers end as soon as they are started, unpacking without")
        return None


pool = Pool()
atexit.register(pool.close)
