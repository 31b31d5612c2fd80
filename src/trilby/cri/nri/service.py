"""The Node Resource Interface of the daemon: a socket that plugins connect to, and those installed.

Light: what speaks with plugins is imported when the first one is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

from trilby.cri.nri.settings import Settings
from trilby.cri.socket import claim
from trilby.errors import TrilbyError

if TYPE_CHECKING:
    from trilby.cri.nri.launch import Installed
    from trilby.cri.nri.plugin import Plugin
    from trilby.cri.nri.relay import Relay
    from trilby.pods.engine import Engine
    from trilby.system.process_async import Process

__all__ = ["NriService"]

log = logging.getLogger(__name__)

#: How long plugins have when the daemon ends, in seconds.
GRACE: Final = 1.0


class NriService:
    """One per daemon."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._relay: Relay | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._processes: list[Process] = []

    async def start(self) -> None:
        """Returns when the installed plugins have joined, or will not.

        Raises SocketBusy, OSError.
        """
        if self._settings.rules is not None:
            self._relaying()
        if os.path.isdir(self._settings.plugin_dir):
            from trilby.cri.nri.launch import find

            found = find(self._settings.plugin_dir, self._settings.config_dir)
            await asyncio.gather(*map(self._launch, found))
        if self._settings.listen:
            await self._listen(self._settings.listen)

    async def close(self) -> None:
        """Plugins are told; those that the daemon started are ended."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._settings.listen).st_ino == self._inode:
                    os.unlink(self._settings.listen)
        if self._relay is not None:
            plugins = list(self._relay.plugins)
            await self._relay.close()
            await asyncio.gather(*(plugin.shut_down(GRACE) for plugin in plugins))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*map(self._end, list(self._processes)))

    async def _listen(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        claim(path)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(path)
            os.chmod(path, 0o600)
            self._inode = os.stat(path).st_ino
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(self._accept, sock=listener)
        except BaseException:
            listener.close()
            raise
        log.info("NRI plugins may connect to %s", path)

    def _accept(self) -> asyncio.Protocol:
        plugin = self._new_plugin()
        self._spawn(self._keep(plugin))
        return plugin.connection

    def _new_plugin(self, installed: Installed | None = None) -> Plugin:
        from trilby.cri.nri.plugin import Plugin

        updates = self._relaying().update_containers
        if installed is None:
            return Plugin(self._settings, updates)
        return Plugin(
            self._settings,
            updates,
            index=installed.index,
            base=installed.base,
            config=installed.config,
        )

    def _relaying(self) -> Relay:
        if self._relay is None:
            from trilby.cri.nri.relay import Relay

            self._relay = Relay(self._engine, self._settings.rules)
        return self._relay

    async def _launch(self, installed: Installed) -> None:
        from trilby.cri.nri.launch import launch

        plugin = self._new_plugin(installed)
        try:
            process = await launch(installed, plugin)
        except TrilbyError as error:
            log.warning("the NRI plugin %s: %s", installed.path, error)
            return
        self._processes.append(process)
        joined = await self._join(plugin)
        self._spawn(self._until_closed(plugin, process) if joined else self._end(process))

    async def _keep(self, plugin: Plugin) -> None:
        if await self._join(plugin):
            await self._until_closed(plugin)

    async def _join(self, plugin: Plugin) -> bool:
        try:
            await plugin.join()
            await self._relaying().join(plugin)
        except TrilbyError as error:
            log.warning("%s", error)
            plugin.connection.close()
            return False
        except BaseException:
            plugin.connection.close()
            raise
        return True

    async def _until_closed(self, plugin: Plugin, process: Process | None = None) -> None:
        await plugin.connection.closed.wait()
        self._relaying().leave(plugin)
        if process is not None:
            await self._end(process)

    async def _end(self, process: Process) -> None:
        """A plugin that the daemon started, and that is of no use any more."""
        from trilby.cri.nri.launch import end

        await end(process, GRACE)
        self._processes.remove(process)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
