"""Waiting for containers to end: by the daemon's events where it has them, else by asking."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Final

from trilby.cri.client.connection import Connection
from trilby.cri.errors import CriError, Unimplemented
from trilby.cri.proto import runtime_pb2 as pb

log = logging.getLogger(__name__)

#: Seconds between two looks: with events only for what they may have missed.
WITH_EVENTS: Final = 5.0
WITHOUT: Final = 0.2
#: Seconds before events are asked for again, when they ended.
AGAIN: Final = 2.0


class Exits:
    """One stream of events for all who wait."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._interval = WITHOUT

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    @contextlib.contextmanager
    def watch(self, container_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the container may have ended, while the block runs."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="container-events")
        event = asyncio.Event()
        self._waiting.setdefault(container_id, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting[container_id]
            waiting.discard(event)
            if not waiting:
                del self._waiting[container_id]

    async def wait(self, event: asyncio.Event) -> None:
        """Until the event is set, or it is time to look anyway."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval):
                await event.wait()

    async def _read(self) -> None:
        """A daemon that is started again has events again; one without any never has."""
        while True:
            try:
                await self._follow()
            except Unimplemented as error:
                log.debug("no events, asking instead: %s", error)
                return
            except CriError as error:
                log.debug("events ended: %s", error)
            await asyncio.sleep(AGAIN)

    async def _follow(self) -> None:
        try:
            async for found in self._connection.stream(
                pb.GetEventsRequest(), pb.ContainerEventResponse
            ):
                self._interval = WITH_EVENTS
                if found.container_event_type in (
                    pb.CONTAINER_STOPPED_EVENT,
                    pb.CONTAINER_DELETED_EVENT,
                ):
                    for event in self._waiting.get(found.container_id, ()):
                        event.set()
        finally:
            self._interval = WITHOUT
