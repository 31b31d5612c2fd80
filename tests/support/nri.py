"""A real NRI plugin, tests/kubernetes/nriplugin, as a process that says what it is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from tests.support.kubernetes import program

#: How long a test waits for what it expects, in seconds.
PATIENCE = 20.0


class PluginProcess:
    """``config`` is what the program's Config has; ``events`` are all lines that it has said."""

    def __init__(self, socket: str, name: str, index: str, config: dict[str, object]) -> None:
        self.events: list[dict[str, Any]] = []
        self._config = {"socket": socket, "name": name, "index": index, **config}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._more = asyncio.Event()

    async def start(self) -> None:
        """Does not wait for anything; see expect()."""
        path = await asyncio.to_thread(program, "nriplugin")
        self._process = await asyncio.create_subprocess_exec(
            *(path, "run", json.dumps(self._config)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 24,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        async for line in process.stdout:
            self.events.append(json.loads(line))
            self._wake()
        self.events.append({"event": "Ended"})
        self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def expect(
        self, event: str, when: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """The first event of that name that fits, after waiting for it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for said in self.events:
                    if said["event"] == event and when(said):
                        return said
                assert self.events[-1:] != [{"event": "Ended"}], f"{event}: {self.names()}"
                await self._more.wait()

    def names(self, container: str = "") -> list[str]:
        """The names of all events, or of those of one container, in order."""
        return [
            said["event"]
            for said in self.events
            if not container or said.get("container", {}).get("id") == container
        ]

    def order(self, container: str, limits: dict[str, object]) -> None:
        """Have it ask for an update of a container; it then says Updated."""
        assert self._process and self._process.stdin
        line = json.dumps({"id": container, "limits": limits})
        self._process.stdin.write(line.encode() + b"\n")

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
        if self._reader is not None:
            await self._reader


@asynccontextmanager
async def plugin(
    socket: str, name: str = "test", index: str = "10", *, joined: bool = True, **config: object
) -> AsyncIterator[PluginProcess]:
    """A plugin that has joined, or, with ``joined=False``, that is about to."""
    running = PluginProcess(socket, name, index, config)
    await running.start()
    try:
        if joined:
            await running.expect("Synchronize")
        yield running
    finally:
        await running.close()


def interface() -> FileDescriptorProto:
    """NRI's messages, as its Go module describes them."""
    done = subprocess.run([program("nriplugin"), "describe"], check=True, capture_output=True)
    return FileDescriptorProto.FromString(base64.b64decode(done.stdout))
