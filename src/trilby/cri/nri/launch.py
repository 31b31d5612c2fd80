"""Plugins that are installed on the host: finding them, and starting them on a socket of theirs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.cri.nri.errors import RegistrationFailed
from trilby.cri.nri.plugin import Plugin, check_name
from trilby.system import process

if TYPE_CHECKING:
    from trilby.system.process_async import Process

__all__ = ["Installed", "end", "find", "launch"]

log = logging.getLogger(__name__)

#: What WebAssembly begins with; NRI has such plugins, this daemon cannot run them.
WASM: Final = b"\0asm"


class Installed(msgspec.Struct, frozen=True):
    """A plugin's program, by its name ``INDEX-BASE``, and its configuration, "" without one."""

    path: str
    index: str
    base: str
    config: str = ""


def find(plugin_dir: str, config_dir: str) -> list[Installed]:
    """Executables in the order of their names; others, and what is no plugin's name, are not."""
    found = []
    try:
        names = sorted(os.listdir(plugin_dir))
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("NRI plugins in %s: %s", plugin_dir, error.strerror)
        return []
    for name in names:
        path = os.path.join(plugin_dir, name)
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            continue
        index, _, base = name.partition("-")
        try:
            check_name(index, base)
            with open(path, "rb") as file:
                if file.read(len(WASM)) == WASM:
                    raise RegistrationFailed("WebAssembly plugins are not supported")
            found.append(Installed(path, index, base, _config(config_dir, index, base)))
        except (RegistrationFailed, OSError, UnicodeDecodeError) as error:
            log.warning("the NRI plugin %s is left out: %s", path, error)
    return found


def _config(directory: str, index: str, base: str) -> str:
    for name in (f"{index}-{base}.conf", f"{base}.conf"):
        try:
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            continue
    return ""


async def launch(installed: Installed, plugin: Plugin) -> Process:
    """Start the program, connected to ``plugin``. Raises CommandFailed."""
    ours, theirs = socket.socketpair()
    with theirs:
        started = await process.aspawn(
            [installed.path],
            env={
                "NRI_PLUGIN_NAME": installed.base,
                "NRI_PLUGIN_IDX": installed.index,
                "NRI_PLUGIN_SOCKET": str(theirs.fileno()),
            },
            stderr=process.DISCARD,
            pass_fds=[theirs.fileno()],
        )
    try:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: plugin.connection, ours)
    except BaseException:
        ours.close()
        await started.close()
        raise
    return started


async def end(started: Process, grace: float) -> None:
    """SIGTERM, ``grace`` seconds, SIGKILL for it and what it started."""
    started.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(grace):
            await started.wait()
    except TimeoutError:
        pass
    finally:
        await started.close()
