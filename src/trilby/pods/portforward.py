"""A TCP connection to a port inside a pod: a socket made in the pod's network namespace."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from trilby.pods import sandbox_network
from trilby.pods.engine_parts import Parts
from trilby.pods.errors import SandboxNotReady, StreamFailed
from trilby.pods.model_status import SandboxState
from trilby.system.namespaces import in_netns

TIMEOUT = 30.0
_ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def port_forward(parts: Parts, sandbox_id: str, port: int) -> socket.socket:
    """See Engine.port_forward: a connected, non-blocking socket that the caller closes."""
    status = parts.inventory.sandbox(sandbox_id)
    if status.state is not SandboxState.READY:
        raise SandboxNotReady(f"forwarding to sandbox {status.id[:12]}: it is not ready")
    record = parts.layout.load_sandbox(status.id)
    path = f"{parts.layout.sandbox_run(record.id)}/ns/net"
    problems = []
    for family, address in _ADDRESSES:

        def make(family: int = family) -> socket.socket:
            return socket.socket(family, socket.SOCK_STREAM)

        try:
            if sandbox_network.uses_host(record):
                connection = make()
            else:
                # A socket stays in the namespace that it was made in.
                connection = await _in_thread(path, make)
        except OSError as error:
            problems.append(f"{address}: {error.strerror}")
            continue
        try:
            connection.setblocking(False)
            async with asyncio.timeout(TIMEOUT):
                await asyncio.get_running_loop().sock_connect(connection, (address, port))
            return connection
        except (OSError, TimeoutError) as error:
            connection.close()
            # asyncio's own text names the address again instead of the reason.
            problems.append(
                f"{address}: {os.strerror(error.errno) if error.errno else 'no answer'}"
            )
        except BaseException:
            connection.close()
            raise
    raise StreamFailed(
        f"forwarding to port {port} of sandbox {record.config.name}: {'; '.join(problems)}",
        hint="does a container of the pod listen on it?",
    )


async def _in_thread(path: str, make: Callable[[], socket.socket]) -> socket.socket:
    """Make a socket in a namespace; who is cancelled meanwhile leaves none behind."""
    task = asyncio.ensure_future(asyncio.to_thread(in_netns, path, make))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_close_made)
        raise


def _close_made(task: asyncio.Future[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
