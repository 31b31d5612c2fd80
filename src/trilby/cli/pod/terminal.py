"""The caller's terminal in raw mode, and its size as it changes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def raw_terminal(resize: Callable[[int, int], None]) -> Iterator[None]:
    """Raw mode while the block runs; ``resize(rows, columns)`` at once and at each change.

    Nothing happens when stdin is no terminal.
    """
    fd = sys.stdin.fileno()
    if not os.isatty(fd):
        yield
        return
    loop = asyncio.get_running_loop()

    def changed() -> None:
        size = os.get_terminal_size(fd)
        resize(size.lines, size.columns)

    before = termios.tcgetattr(fd)
    loop.add_signal_handler(signal.SIGWINCH, changed)
    tty.setraw(fd)
    try:
        changed()
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


async def read_input(fd: int) -> bytes:
    """What can be read next, b"" at the end; a thread reads where the loop cannot watch."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:  # a regular file: it never blocks
        return os.read(fd, 1 << 16)
    try:
        await ready.wait()
        return os.read(fd, 1 << 16)
    except OSError:
        return b""
    finally:
        loop.remove_reader(fd)
