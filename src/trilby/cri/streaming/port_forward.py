"""Port-forward: one client stream to one connection inside a pod."""

from __future__ import annotations

import asyncio
import socket

from trilby.cri.streaming.errors import StreamClosed
from trilby.cri.streaming.streams import PIECE, Incoming, Outgoing, end_tasks
from trilby.pods.engine import Engine


async def forward(
    engine: Engine, sandbox_id: str, port: int, incoming: Incoming, outgoing: Outgoing
) -> None:
    """Copy both ways until the pod's end is closed, or the client resets the stream.

    Each end that is closed half is closed half on the other side. Raises what Engine.port_forward
    does.
    """
    connection = await engine.port_forward(sandbox_id, port)
    with connection:
        upload = asyncio.create_task(_upload(connection, incoming))
        try:
            await _download(connection, outgoing)
        except StreamClosed:
            pass
        finally:
            incoming.discard()
            await end_tasks(upload)


async def _download(connection: socket.socket, outgoing: Outgoing) -> None:
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(connection, PIECE):
            await outgoing.write(data)
    except ConnectionError:
        pass  # the pod has reset it: an end like any other, as far as the protocol can tell
    outgoing.finish()


async def _upload(connection: socket.socket, incoming: Incoming) -> None:
    loop = asyncio.get_running_loop()
    try:
        while data := await incoming.read():
            await loop.sock_sendall(connection, data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        incoming.discard()  # the pod reads no more; what it sends still counts


__all__ = ["forward"]
