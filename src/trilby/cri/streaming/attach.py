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


async def serve_attach(engine: Engine, call: AttachCall, streams: CommandStreams) -> Status:
    """Until the container has ended. Cancelled (the client has gone), the container goes on."""
    try:
        attached = await engine.attach(call.container_id)
    except TrilbyError as error:
        return internal_error(f"error attaching to container: {error}")
    inputs = [asyncio.create_task(_feed_stdin(attached, streams))]
    if streams.resize is not None and attached.tty:
        inputs.append(asyncio.create_task(pump_sizes(streams.resize, attached.resize)))
    try:
        await _copy_output(attached, streams)
        return SUCCESS
    except StreamFailed as error:
        return internal_error(f"error attaching to container: {error}")
    finally:
        try:
            await end_tasks(*inputs)
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
    for output in outputs.values():
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
