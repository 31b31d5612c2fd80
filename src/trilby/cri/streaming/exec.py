"""Exec: a command with the client at its ends."""

from __future__ import annotations

import asyncio
import contextlib
import os

from trilby.cri.streaming.calls import ExecCall
from trilby.cri.streaming.pipes import FdReader, pump_in, pump_out
from trilby.cri.streaming.resize import pump_sizes
from trilby.cri.streaming.status import Status, exit_status, internal_error
from trilby.cri.streaming.streams import CommandStreams, end_tasks
from trilby.errors import TrilbyError
from trilby.pods.engine import Engine
from trilby.pods.engine_tasks import finish
from trilby.pods.exec import ExecSession, ExecStreams


async def serve_exec(engine: Engine, call: ExecCall, streams: CommandStreams) -> Status:
    """Run the command to its end. Cancelled (the client has gone), it is killed."""
    with _Ends(call) as ends:
        try:
            session = await _start(engine, call, ends)
        except TrilbyError as error:
            return internal_error(f"error executing command in container: {error}")
        ends.close_theirs()
        try:
            return exit_status(await _converse(session, ends, streams))
        finally:
            await finish(session.close())


class _Ends:
    """The pipes of a command without a terminal: their ends, then ours."""

    def __init__(self, call: ExecCall) -> None:
        self._theirs = contextlib.ExitStack()
        self._ours = contextlib.ExitStack()
        self.stdin = self.stdout = self.stderr = -1
        self.streams = ExecStreams()
        if call.tty:
            return
        with contextlib.ExitStack() as undo:
            undo.callback(self.__exit__)
            read_end = write_end = err_end = None
            if call.stdin:
                read_end, self.stdin = self._pipe(ours_is_read=False)
                os.set_blocking(self.stdin, False)
            if call.stdout:
                write_end, self.stdout = self._pipe(ours_is_read=True)
            if call.stderr:
                err_end, self.stderr = self._pipe(ours_is_read=True)
            self.streams = ExecStreams(stdin=read_end, stdout=write_end, stderr=err_end)
            undo.pop_all()

    def _pipe(self, *, ours_is_read: bool) -> tuple[int, int]:
        """Their end and ours."""
        read_end, write_end = os.pipe()
        theirs, ours = (write_end, read_end) if ours_is_read else (read_end, write_end)
        self._theirs.callback(os.close, theirs)
        if ours_is_read:
            self._ours.callback(os.close, ours)
        return theirs, ours

    def close_theirs(self) -> None:
        """The command has its own now."""
        self._theirs.close()

    def close_stdin(self) -> None:
        """The command reads the end of its input."""
        fd, self.stdin = self.stdin, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> _Ends:
        return self

    def __exit__(self, *_: object) -> None:
        self._theirs.close()
        self._ours.close()
        self.close_stdin()


async def _start(engine: Engine, call: ExecCall, ends: _Ends) -> ExecSession:
    """Starting is not interrupted: a command that nobody knows of could not be killed."""
    task = asyncio.ensure_future(
        engine.exec(call.container_id, call.cmd, streams=ends.streams, tty=call.tty)
    )
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(TrilbyError):
            await finish(_close_started(task))
        raise


async def _close_started(task: asyncio.Future[ExecSession]) -> None:
    session = await task
    await session.close()


async def _converse(session: ExecSession, ends: _Ends, streams: CommandStreams) -> int:
    """Move bytes both ways until the command has ended and all it wrote is sent."""
    if session.terminal >= 0:
        readers = [(FdReader(session.terminal, terminal=True), streams.stdout)]
    else:
        found = ((ends.stdout, streams.stdout), (ends.stderr, streams.stderr))
        readers = [(FdReader(fd), output) for fd, output in found if fd >= 0]
    async with asyncio.TaskGroup() as outputs:
        for reader, output in readers:
            if output is not None:
                outputs.create_task(pump_out(reader, output))
        inputs = [asyncio.create_task(_feed_stdin(session, ends, streams))]
        if streams.resize is not None:
            inputs.append(asyncio.create_task(pump_sizes(streams.resize, session.resize)))
        try:
            code = await session.wait()
            for reader, _ in readers:
                reader.end()
        finally:
            await end_tasks(*inputs)
    return code


async def _feed_stdin(session: ExecSession, ends: _Ends, streams: CommandStreams) -> None:
    if streams.stdin is None:
        return
    if session.terminal >= 0:
        # The end of the client's input is not the end of a terminal's.
        await pump_in(streams.stdin, session.terminal)
        return
    await pump_in(streams.stdin, ends.stdin)
    ends.close_stdin()


__all__ = ["serve_exec"]
