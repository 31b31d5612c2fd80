"""Descriptors of pipes and terminals on the event loop, with back pressure."""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import termios
from typing import Final

from trilby.cri.streaming.errors import StreamClosed
from trilby.cri.streaming.streams import PIECE, Buffer, Incoming, Outgoing

# How long a terminal may be silent after its command's end, until nothing more is expected.
_SILENCE: Final = 0.1


class FdReader:
    """Reads a descriptor of the caller's, which it makes non-blocking."""

    def __init__(self, fd: int, *, terminal: bool = False) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._terminal = terminal
        # What of a command that has ended is still to be read.
        self._left: int | None = None
        self._ended = False
        self._wake: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """What there is, at most PIECE bytes; empty at the end."""
        while True:
            size = PIECE if self._left is None else min(PIECE, self._left)
            if not size:
                return b""
            try:
                data = os.read(self._fd, size)
            except BlockingIOError:
                if not await self._readable():
                    return b""
                continue
            except OSError as error:
                if error.errno == errno.EIO:
                    return b""  # nobody has the other end of the terminal
                raise
            if self._left is not None:
                self._left -= len(data)
            return data

    def end(self) -> None:
        """The command has ended: what it wrote is still read, but not what others may write."""
        if not self._terminal:
            there = array.array("i", [0])
            fcntl.ioctl(self._fd, termios.FIONREAD, there)
            self._left = there[0]
        self._ended = True
        self._notify()

    async def _readable(self) -> bool:
        """Wait; False when the command has ended and the terminal is silent since."""
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        loop.add_reader(self._fd, self._notify)
        try:
            async with asyncio.timeout(_SILENCE if self._ended else None):
                await self._wake
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._fd)
            self._wake = None
        return True

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


async def write_all(fd: int, data: Buffer) -> bool:
    """Write to a non-blocking descriptor; False when nobody reads it any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _writable(fd)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):
                return False
            raise
    return True


async def pump_out(reader: FdReader, output: Outgoing) -> None:
    """Everything that comes from a command; the client may have closed its end."""
    wanted = True
    while data := await reader.read():
        if wanted:
            try:
                await output.write(data)
            except StreamClosed:
                wanted = False
        else:
            await asyncio.sleep(0)
    output.finish()


async def pump_in(incoming: Incoming, fd: int) -> None:
    """Everything that the client sends, as long as the command reads it."""
    while data := await incoming.read():
        if not await write_all(fd, data):
            incoming.discard()
            return


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, _set_done, future)
    try:
        await future
    finally:
        loop.remove_writer(fd)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


__all__ = ["FdReader", "pump_in", "pump_out", "write_all"]
