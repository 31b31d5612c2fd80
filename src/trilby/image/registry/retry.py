"""Trying again: exponential back-off with jitter, and servers that say how long to wait."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from trilby.image.registry.errors import NoConnection, RegistryError
from trilby.image.registry.settings import ClientSettings, Clock

logger = logging.getLogger(__name__)

T = TypeVar("T")


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait from a Retry-After header (RFC 9110, 10.2.3): a number or a date.

    None if there is none or it makes no sense; never negative.
    """
    if not value:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    if not math.isfinite(seconds):
        return None
    return max(0.0, seconds)


class Backoff:
    """Counts failures of one request and waits between them."""

    def __init__(self, settings: ClientSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.failures = 0

    def reset(self) -> None:
        """Progress was made: the next failure is the first."""
        self.failures = 0

    async def wait(self, error: RegistryError) -> None:
        """Sleep after this failure, or raise it if it is not transient or patience is used up."""
        self.failures += 1
        settings = self._settings
        most = settings.connect_attempts if isinstance(error, NoConnection) else settings.attempts
        if not error.transient:
            raise error
        if self.failures >= most:
            raise _gave_up(error, self.failures)
        delay = self._delay()
        if error.retry_after is not None:
            if error.retry_after > settings.retry_after_max:
                raise _asks_too_long(error, error.retry_after)
            # Spread those who were all told the same moment.
            delay = error.retry_after + self._clock.chance() * min(1.0, delay)
        logger.info("%s; trying again in %.1f s", error.message, delay)
        await self._clock.sleep(delay)

    def _delay(self) -> float:
        settings = self._settings
        full = min(settings.backoff_max, settings.backoff_base * 2.0 ** (self.failures - 1))
        # Half fixed, half chance: never a stampede, never no wait at all.
        return full / 2 + full / 2 * self._clock.chance()


async def retrying(
    operation: Callable[[], Awaitable[T]], settings: ClientSettings, clock: Clock
) -> T:
    """Run ``operation`` until it succeeds; raises its error when that is final."""
    backoff = Backoff(settings, clock)
    while True:
        try:
            return await operation()
        except RegistryError as error:
            await backoff.wait(error)


def _gave_up(error: RegistryError, failures: int) -> RegistryError:
    if failures > 1:
        error.message = f"{error.message} [gave up after {failures} attempts]"
    return error


def _asks_too_long(error: RegistryError, seconds: float) -> RegistryError:
    error.message = f"{error.message} [the registry asks to wait {seconds:.0f} s]"
    return error
