"""Sizes of the client's terminal, as the resize stream tells them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from trilby.cri.streaming.streams import Incoming
from trilby.pods.errors import PodsError

_MAX: Final = 4096
_LARGEST: Final = 0xFFFF


class _Size(msgspec.Struct, frozen=True, rename="pascal"):
    width: int = 0
    height: int = 0


async def pump_sizes(sizes: Incoming, resize: Callable[[int, int], None]) -> None:
    """``resize(rows, columns)`` for each ``{"Width": columns, "Height": rows}``.

    The objects follow each other with or without line feeds, in pieces of any size. What is
    none of them ends the listening, not the command.
    """
    text = b""
    while piece := await sizes.read():
        *complete, text = (text + bytes(piece)).split(b"}")
        for part in complete:
            try:
                size = msgspec.json.decode(part + b"}", type=_Size)
            except msgspec.DecodeError:
                text = b""
                break
            if 0 < size.width <= _LARGEST and 0 < size.height <= _LARGEST:
                try:
                    resize(size.height, size.width)
                except (PodsError, OSError):
                    break  # it has just ended
        else:
            if len(text) <= _MAX:
                continue
        break
    sizes.discard()


__all__ = ["pump_sizes"]
