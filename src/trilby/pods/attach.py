"""Attaching to a running container's first process, over conmon's socket.

conmon sends packets whose first byte says the stream (2 stdout, 3 stderr) and takes plain packets
for stdin. It has one socket per container and any number of clients.
"""

from __future__ import annotations

import asyncio
import enum
import os
import socket
from collections.abc import AsyncIterator

from trilby.pods import monitor
from trilby.pods.engine_parts import Parts
from trilby.pods.errors import StreamFailed
from trilby.pods.exec import running

# conmon reads stdin in pieces of this size, and sends pieces of 8192 and one byte.
_PIECE = 8192
_PACKET = 1 << 16


class Stream(enum.IntEnum):
    """The first byte of conmon's packets."""

    STDOUT = 2
    STDERR = 3


class AttachedStreams:
    """An open attachment. ``async for stream, data in attached:`` ends when the container does.

    ``leaves_stdin``: the container's stdin stays open when ours ends, for whoever comes next.
    """

    def __init__(
        self, connection: socket.socket, bundle: str, *, stdin: bool, tty: bool, leaves_stdin: bool
    ) -> None:
        self.tty = tty
        self.has_stdin = stdin
        self.leaves_stdin = leaves_stdin
        self._connection = connection
        self._bundle = bundle
        self._loop = asyncio.get_running_loop()

    async def __aiter__(self) -> AsyncIterator[tuple[Stream, bytes]]:
        while True:
            try:
                packet = await self._loop.sock_recv(self._connection, _PACKET)
            except ConnectionResetError:
                return
            if not packet:
                return
            try:
                yield Stream(packet[0]), packet[1:]
            except ValueError:
                raise StreamFailed(f"conmon sent a packet of unknown kind {packet[0]}") from None

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to stdin. Raises StreamFailed when the container is gone."""
        view = memoryview(data)
        try:
            while view:
                await self._loop.sock_sendall(self._connection, view[:_PIECE])
                view = view[_PIECE:]
        except (BrokenPipeError, ConnectionResetError) as error:
            raise StreamFailed("writing to the container: it has ended") from error

    def close_stdin(self) -> None:
        """End of our input; the container sees the end of its stdin if it has stdin_once."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # gone already

    def resize(self, rows: int, columns: int) -> None:
        """Tell the container's terminal its size. Raises MonitorFailed."""
        monitor.resize(self._bundle, rows, columns)

    def close(self) -> None:
        """Detach; the container goes on."""
        self._connection.close()


async def attach(parts: Parts, container_id: str) -> AttachedStreams:
    """See Engine.attach."""
    record = running(parts, container_id)
    bundle = parts.layout.bundle(record.id)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.setblocking(False)
        _connect(connection, bundle)
    except OSError as error:
        connection.close()
        raise StreamFailed(
            f"attaching to container {record.config.name}: conmon does not answer: {error.strerror}"
        ) from error
    config = record.config
    return AttachedStreams(
        connection,
        bundle,
        stdin=config.stdin,
        tty=config.tty,
        leaves_stdin=config.leaves_stdin,
    )


def _connect(connection: socket.socket, bundle: str) -> None:
    """By way of the directory's descriptor: socket paths are limited to 107 bytes."""
    directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/attach")
    finally:
        os.close(directory)
