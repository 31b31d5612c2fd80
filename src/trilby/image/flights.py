"""Work that several ask for at the same time is done once, and ends when nobody waits any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

from trilby.image.progress import BlobProgress, Event, Progress, silent

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Begins the work; what it is given takes the work's events.
Start = Callable[[Progress], Coroutine[object, object, T]]


class _Flight(Generic[T]):
    """One piece of work under way and those who wait for it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[T] | None = None
        self.listeners: list[Progress] = []
        self._told: list[Event] = []

    def join(self, listener: Progress) -> None:
        """Tell a newcomer what has happened so far, but for the steps in between."""
        for event in self._told:
            listener(event)
        self.listeners.append(listener)

    def tell(self, event: Event) -> None:
        if not isinstance(event, BlobProgress):
            self._told.append(event)
        for listener in list(self.listeners):
            try:
                listener(event)
            except Exception:
                # The others who wait must not suffer for it.
                log.exception("a listener to the progress of an image failed")


class Flights(Generic[T]):
    """All work under way, by key. Of one event loop at a time."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def share(self, key: Hashable, start: Start[T], progress: Progress | None) -> T:
        """The result (or error) of the work of this key, begun if nobody else has.

        Cancelling one who waits leaves the work to the others; the last one's ends it, and returns
        when it has cleaned up.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.ensure_future(start(flight.tell))
            flight.task.add_done_callback(lambda _task: self._landed(key, flight))
        assert flight.task is not None
        listener: Progress = progress or silent
        flight.join(listener)
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.listeners == [listener] and not flight.task.done():
                # Who asks from now on begins anew.
                self._landed(key, flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])
            raise
        finally:
            flight.listeners.remove(listener)

    def _landed(self, key: Hashable, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task is not None and flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # looked at, so that asyncio does not complain
