"""Attach: a container's first process with one more client at its ends."""

from __future__ import annotations

import asyncio

from trilby.cri.streaming.calls import AttachCall
from trilby.cri.streaming.errors import StreamClosed
from trilby.cri.streaming.resize import pump_sizes
from trilby.cri.streaming.status import SUCCESS, Status, internal_error
from trilby.cri.streaming.streams import CommandStreams, Outgoing, end_tasks
from trilby.errors import TrilbyError
from trilby.pods.attach import AttachedStreams, Stream
from trilby.pods.engine import Engine
from trilby.pods.errors import StreamFailed

#: Seconds in which the container's answer to the last of our input still comes.
LINGER = 0.5


async def serve_attach(engine: Engine, call: AttachCall, streams: CommandStreams) -> Status:
    """Until the container has ended, or the client has said all that it has to say.

    The latter only if the container's stdin stays open then, and it has no terminal: it may go on
    for ever, and the client waits for an end. Cancelled (the client has gone), it goes on, too.
    """
    try:
        attached = await engine.attach(call.container_id)
    except TrilbyError as error:
        return internal_error(f"error attaching to container: {error}")
    output = asyncio.create_task(_copy_output(attached, streams))
    said_all = asyncio.create_task(_feed_stdin(attached, streams))
    inputs = [said_all]
    if streams.resize is not None and attached.tty:
        inputs.append(asyncio.create_task(pump_sizes(streams.resize, attached.resize)))
    try:
        await asyncio.wait([output, said_all], return_when=asyncio.FIRST_COMPLETED)
        if streams.stdin is not None and attached.leaves_stdin and not attached.tty:
            await asyncio.wait([output], timeout=LINGER)
            if not output.done():
                _finish(streams)
                return SUCCESS
        await output
        return SUCCESS
    except StreamFailed as error:
        return internal_error(f"error attaching to container: {error}")
    finally:
        try:
            await end_tasks(output, *inputs)
        finally:
            attached.close()


async def _copy_output(attached: AttachedStreams, streams: CommandStreams) -> None:
    outputs: dict[Stream, Outgoing | None] = {
        Stream.STDOUT: streams.stdout,
        Stream.STDERR: streams.stderr,
    }
    async for stream, data in attached:
        output = outputs[stream]
        if output is None:
            # Also when nobody listens, others get their turn.
            await asyncio.sleep(0)
            continue
        try:
            await output.write(data)
        except StreamClosed:
            outputs[stream] = None
    _finish(streams)


def _finish(streams: CommandStreams) -> None:
    for output in (streams.stdout, streams.stderr):
        if output is not None:
            output.finish()


async def _feed_stdin(attached: AttachedStreams, streams: CommandStreams) -> None:
    if streams.stdin is None:
        return
    if not attached.has_stdin:
        streams.stdin.discard()
        return
    try:
        while data := await streams.stdin.read():
            await attached.write(data)
    except StreamFailed:
        streams.stdin.discard()
        return
    # conmon passes the end on if the container has stdin_once, and else goes on listening.
    attached.close_stdin()


__all__ = ["serve_attach"]
