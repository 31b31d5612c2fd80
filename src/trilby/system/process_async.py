"""Child processes on an asyncio loop: pidfd and pipes as readers, no thread, no SIGCHLD handler."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from trilby.system.process_child import Child, Completed


class Process:
    """A process that aspawn() started. Its exit is noticed, and its status taken, by the loop.

    wait() or close() it: close() kills what still runs.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(child.pidfd, self._on_exit)
        for reader in child.readers:
            if reader:
                self._loop.add_reader(reader.fd, self._pump, reader.fd, reader.pump)
        if child.feeder:
            self._loop.add_writer(child.feeder.fd, self._feed)

    @property
    def pid(self) -> int:
        """The process number; safe to use only while it is not waited for."""
        return self._child.pid

    @property
    def pidfd(self) -> int:
        """Readable when the process ended; -1 after that was noticed. Owned by this object."""
        return self._child.pidfd

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._child.returncode

    async def wait(self) -> int:
        """Wait for the end and return the status; any number of tasks may, and may be cancelled."""
        return await asyncio.shield(self._ended)

    async def completed(self, *, check: bool = True) -> Completed:
        """wait(), then the result with the captured output; CommandFailed when it failed."""
        await self.wait()
        return self._child.completed(check)

    def stdout(self) -> bytes:
        """What was captured of standard output so far."""
        return self._child.output(0)

    def stderr(self) -> bytes:
        """What was captured of standard error so far."""
        return self._child.output(1)

    def signal(self, number: int) -> None:
        """Signal the process alone; nothing happens when it ended."""
        if self._child.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._child.pidfd, number)
            except ProcessLookupError:
                pass

    def kill(self) -> None:
        """SIGKILL for its process group."""
        self._child.kill()

    async def close(self) -> None:
        """Kill it if it runs, and wait until it is gone."""
        self.kill()
        await self.wait()

    def _on_exit(self) -> None:
        child = self._child
        if not child.reap():
            return
        self._loop.remove_reader(child.pidfd)
        for reader in child.readers:
            if reader:
                self._loop.remove_reader(reader.fd)
        if child.feeder:
            self._loop.remove_writer(child.feeder.fd)
        child.finish_output()
        if not self._ended.done():
            self._ended.set_result(child.returncode or 0)

    def _pump(self, fd: int, pump: Callable[[], bool]) -> None:
        if not pump():
            self._loop.remove_reader(fd)

    def _feed(self) -> None:
        feeder = self._child.feeder
        if feeder and not feeder.pump():
            self._loop.remove_writer(feeder.fd)
            feeder.close()
            self._child.feeder = None


async def run_child(child: Child, check: bool, timeout: float | None) -> Completed:
    """Wait for ``child``; kill it when the time is over or the task is cancelled."""
    process = Process(child)
    exceeded = None
    try:
        try:
            async with asyncio.timeout(timeout):
                await process.wait()
        except TimeoutError:
            exceeded = timeout
            await process.close()
    except BaseException:
        # Once more cancelled while waiting here, the loop still reaps it.
        await process.close()
        raise
    return child.completed(check, exceeded)
