"""What both ways to a daemon's streams have in common: channels, half-close, and how it ended.

The protocol is Kubernetes' remotecommand: a channel or stream each for input, output, errors and
the terminal's size, and one on which the server says at the end how the command ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec

from trilby.pods.errors import StreamFailed

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CONNECT_TIMEOUT: Final = 30.0


class Wanted(msgspec.Struct, frozen=True):
    """What a stream is to have. With a terminal all output comes by one channel."""

    stdin: bool
    tty: bool


class Channels(Protocol):
    """An open connection. ``outcome`` is there when the output has ended, if the daemon said it."""

    outcome: Outcome | None

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Pieces of channels STDOUT and STDERR, until the daemon closes."""
        ...

    async def send(self, channel: int, data: bytes) -> None:
        """Raises StreamFailed when the daemon is gone."""
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its size."""
        ...

    def end_input(self) -> None:
        """Say that there is no more input, if the protocol can."""
        ...

    async def close(self) -> None:
        """Break off, or say good-bye."""
        ...


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] = []


class Outcome(msgspec.Struct, frozen=True):
    """A ``metav1.Status``, as far as it says how a command ended."""

    status: str = ""
    reason: str = ""
    message: str = ""
    details: _Details | None = None

    def exit_code(self) -> int:
        """The command's. Raises StreamFailed when it did not come to one."""
        if self.status == "Success":
            return 0
        for cause in self.details.causes if self.details else ():
            if cause.reason == "ExitCode" and cause.message.isdigit():
                return int(cause.message)
        said = self.message or self.reason or "no word"
        raise StreamFailed(f"the daemon's stream failed: {said}")


def outcome(text: bytes) -> Outcome:
    """What the last channel said."""
    try:
        return msgspec.json.decode(text, type=Outcome)
    except msgspec.DecodeError:
        # Before version 4 it was plain text.
        return Outcome(status="Failure", message=text.decode(errors="replace").strip())


def size(rows: int, columns: int) -> bytes:
    """What the terminal's channel takes."""
    return msgspec.json.encode({"Width": columns, "Height": rows})


def place(url: str) -> str:
    """An address without its token, for messages."""
    return "/".join(url.split("/")[:4])
