"""Actions of probes and hooks: run a command, fetch a page, open a connection, sleep."""

from __future__ import annotations

import asyncio

from trilby.errors import TrilbyError
from trilby.pods.embedded.api import PodEngine
from trilby.pods.errors import ExecTimeout
from trilby.pods.manifest import schema

# A status as kubelet takes it: 200 to 399 is good.
GOOD_STATUS = range(200, 400)


class Target:
    """The container that an action is about, and where it is reached."""

    def __init__(
        self, engine: PodEngine, container: schema.Container, container_id: str, address: str
    ) -> None:
        self.engine = engine
        self.container = container
        self.container_id = container_id
        self.address = address

    def port(self, port: int | str) -> int:
        """A port by number or by its name in the manifest."""
        for each in self.container.ports:
            if each.name == port:
                return each.container_port
        return int(port)


async def perform(target: Target, action: schema.Handler | schema.Probe, timeout: float) -> str:
    """Do the action; "" if it succeeded, else why it did not."""
    try:
        async with asyncio.timeout(timeout):
            if action.exec is not None:
                return await _exec(target, action.exec, timeout)
            if action.http_get is not None:
                return await _http_get(target, action.http_get)
            if action.tcp_socket is not None:
                return await _connect(target, action.tcp_socket)
            if isinstance(action, schema.Handler) and action.sleep is not None:
                await asyncio.sleep(action.sleep.seconds)
            return ""
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except ExecTimeout as error:
        return error.message
    except TrilbyError as error:
        return error.message
    except OSError as error:
        return error.strerror or str(error)


async def _exec(target: Target, action: schema.ExecAction, timeout: float) -> str:
    # The engine kills the command and its children; asyncio's own limit is the second line.
    result = await target.engine.exec_sync(
        target.container_id, action.command, timeout=max(timeout - 0.05, 0.01)
    )
    if result.exit_code == 0:
        return ""
    said = (result.stdout + result.stderr).decode(errors="replace").strip()
    return f"{action.command[0]} exited with {result.exit_code}" + (f": {said}" if said else "")


async def _http_get(target: Target, action: schema.HttpGetAction) -> str:
    import aiohttp

    host = action.host or target.address
    if ":" in host:
        host = f"[{host}]"
    url = f"{action.scheme.lower()}://{host}:{target.port(action.port)}"
    url += action.path if action.path.startswith("/") else f"/{action.path}"
    headers = {"User-Agent": "kube-probe/trilby", "Accept": "*/*"}
    headers |= {header.name: header.value for header in action.http_headers}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers, ssl=False) as response,
        ):
            if response.status in GOOD_STATUS:
                return ""
            return f"GET {url}: status {response.status}"
    except aiohttp.ClientError as error:
        return f"GET {url}: {error}"


async def _connect(target: Target, action: schema.TcpSocketAction) -> str:
    host = action.host or target.address
    _, writer = await asyncio.open_connection(host, target.port(action.port))
    writer.close()
    await writer.wait_closed()
    return ""
