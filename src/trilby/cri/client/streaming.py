"""Connections to a daemon's streaming server: our own by WebSocket, any other's by SPDY."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trilby.cri.client.channels import Channels, Wanted

if TYPE_CHECKING:
    import aiohttp


class Streaming:
    """All streams of one engine."""

    def __init__(self, *, spdy: bool = False) -> None:
        self._spdy = spdy
        self._session: aiohttp.ClientSession | None = None
        self._open: list[Channels] = []

    async def close(self) -> None:
        """Break off what is open."""
        for channels in self._open:
            await channels.close()
        if self._session is not None:
            await self._session.close()

    async def connect(self, url: str, wanted: Wanted) -> Channels:
        """To the address that Exec or Attach answered. Raises StreamFailed."""
        channels = await self._connected(url, wanted)
        self._open.append(channels)
        return channels

    async def _connected(self, url: str, wanted: Wanted) -> Channels:
        if self._spdy:
            from trilby.cri.client import spdy

            return await spdy.connect(url, wanted)
        import aiohttp

        from trilby.cri.client import websocket

        if self._session is None:
            self._session = aiohttp.ClientSession()
        return await websocket.connect(self._session, url)
