"""A carrier that keeps what is written, for sessions without a socket."""

from __future__ import annotations

from trilby.cri.streaming.streams import Buffer


class Wire:
    """See trilby.cri.streaming.streams.Carrier."""

    def __init__(self) -> None:
        self.data = b""
        self.held = 0

    def write(self, *pieces: Buffer) -> None:
        self.data += b"".join(pieces)

    async def drain(self) -> None:
        pass

    def hold(self, change: int) -> None:
        self.held += change
        assert self.held >= 0
