"""Whether the kernel's clock is kept right by somebody: adjtimex(2)."""

from __future__ import annotations

import ctypes
from typing import Final

import msgspec

from trilby.system.syscalls import check, libc

__all__ = ["ClockState", "clock_state"]

_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x0040


class ClockState(msgspec.Struct, frozen=True):
    """``error`` is the greatest possible error in seconds, as far as the kernel can tell."""

    synchronised: bool
    error: float


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        # PPS, TAI, and what may come.
        ("rest", ctypes.c_long * 24),
    )


def clock_state() -> ClockState:
    """What the kernel says of its clock; nothing is changed. Raises OSError."""
    data = _Timex()
    state = check(libc.adjtimex(ctypes.byref(data)), "adjtimex")
    status, error = int(data.status), int(data.maxerror)
    return ClockState(state != _TIME_ERROR and not status & _STA_UNSYNC, error / 1e6)
