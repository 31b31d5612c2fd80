"""What systemd is told: readiness, that the daemon lives, its reloads and end (sd_notify(3))."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)


def notify(message: str, env: Mapping[str, str] = os.environ) -> bool:
    """Send lines such as ``READY=1``; False where nobody listens."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(address)
            sender.sendall(message.encode())
    except OSError as error:
        log.warning("telling systemd %r: %s", message, error)
        return False
    return True


def reloading() -> str:
    """The message at the beginning of a reload (Type=notify-reload); ``READY=1`` ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_seconds(env: Mapping[str, str] = os.environ) -> float:
    """How often systemd wants to hear from this process; 0 for never."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(env.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0


async def feed_watchdog(healthy: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Tell systemd twice in its interval that the daemon answers; never when it does not."""
    while True:
        try:
            async with asyncio.timeout(seconds / 2):
                well = await healthy()
        except Exception as error:
            log.error("the daemon does not answer itself: %s", error)
            well = False
        if well:
            notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 2)
