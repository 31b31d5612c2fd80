"""Port-forward over SPDY, WebSocket channels, and SPDY in a WebSocket."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest
from tests.support.pods import busybox, pod
from tests.support.streaming import ClientStream, SocketClient, SpdyClient

from trilby.cri.streaming.server import StreamingServer
from trilby.pods.engine import Engine
from trilby.pods.model_common import NamespaceMode, NamespaceOptions
from trilby.pods.model_sandbox import SandboxSecurity
from trilby.system import process

PROTOCOL = "portforward.k8s.io"
PORT = 8080
GET = b"GET /index.html HTTP/1.0\r\n\r\n"


@pytest.fixture
async def web(engine: Engine, sandbox: str) -> AsyncIterator[str]:
    """A sandbox with a web server on PORT, and one that counts what it gets on PORT + 1."""
    script = f"""mkdir /www; echo page > /www/index.html; head -c 30000000 /dev/urandom > /www/big
        httpd -p 127.0.0.1:{PORT} -h /www; exec nc -ll -p {PORT + 1} -e wc -c"""
    container = await engine.create_container(sandbox, busybox("main", "sh", "-c", script))
    await engine.start_container(container)
    listening = (
        "grep -q ':1F90 .* 0A ' /proc/net/tcp && cat /proc/net/tcp* | grep -q ':1F91 .* 0A '"
    )
    check = f"until {listening}; do sleep 0.05; done"
    found = await engine.exec_sync(container, ["sh", "-c", check], timeout=20)
    assert found.exit_code == 0
    yield container


async def pair(client: SpdyClient, port: int, request: str) -> tuple[ClientStream, ClientStream]:
    named = {"port": str(port), **({"requestid": request} if request else {})}
    error = await client.open(True, streamtype="error", **named)
    return await client.open(streamtype="data", **named), error


async def test_requests(server: StreamingServer, sandbox: str, web: str) -> None:
    async with SpdyClient(server.port_forward_url(sandbox, []), PROTOCOL) as client:
        assert client.protocol == PROTOCOL
        for request in ("0", "1", ""):
            data, error = await pair(client, PORT, request)
            await data.send(GET)
            assert (await data.all()).endswith(b"page\n")
            assert await error.all() == b""


async def test_half_close(server: StreamingServer, sandbox: str, web: str) -> None:
    async with SpdyClient(server.port_forward_url(sandbox, []), PROTOCOL) as client:
        data, error = await pair(client, PORT + 1, "0")
        await data.send(bytes(3_000_000), fin=True)
        assert await data.all() == b"3000000\n"
        assert await error.all() == b""


async def test_many_at_once(
    server: StreamingServer, engine: Engine, sandbox: str, web: str
) -> None:
    digest = (
        (await engine.exec_sync(web, ["busybox", "sha256sum", "/www/big"]))
        .stdout.split()[0]
        .decode()
    )
    async with SpdyClient(server.port_forward_url(sandbox, []), PROTOCOL) as client:

        async def fetch(number: int, name: str) -> bytes:
            data, _ = await pair(client, PORT, str(number))
            await data.send(f"GET /{name} HTTP/1.0\r\n\r\n".encode())
            return (await data.all()).partition(b"\r\n\r\n")[2]

        names = ["big", *["index.html"] * 20, "big"]
        found = await asyncio.gather(*(fetch(*each) for each in enumerate(names)))
    assert found[1] == b"page\n" and len(set(found)) == 2
    assert hashlib.sha256(found[0]).hexdigest() == digest


async def test_a_closed_port(server: StreamingServer, sandbox: str, web: str) -> None:
    async with SpdyClient(server.port_forward_url(sandbox, []), PROTOCOL) as client:
        data, error = await pair(client, PORT + 2, "0")
        assert str(PORT + 2).encode() in await error.all()
        await data.ended.wait()
        assert data.was_reset
        # The session is good for more.
        data, error = await pair(client, PORT, "1")
        await data.send(GET)
        assert (await data.all()).endswith(b"page\n")


async def test_a_reset_stream_closes_the_connection(
    server: StreamingServer, engine: Engine, sandbox: str, web: str
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with SpdyClient(server.port_forward_url(sandbox, []), PROTOCOL) as client:
        data, error = await pair(client, PORT, "0")
        data.reset()
        await error.all()
        for _ in range(100):
            if len(os.listdir("/proc/self/fd")) == before + 2:  # the client's and the server's
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the connection into the pod is still there")


async def test_a_server_that_has_only_ipv6(
    server: StreamingServer, engine: Engine, sandbox: str, web: str
) -> None:
    # nc listens on any address, so its port is there for IPv6 too; IPv4 is made to refuse it.
    tables = ["iptables", "-w", "-I", "INPUT", "-p", "tcp", "-d", "127.0.0.1"]
    rule = [*tables, "--dport", str(PORT + 1), "-j", "REJECT", "--reject-with", "tcp-reset"]
    path = f"{engine._parts.layout.sandbox_run(sandbox)}/ns/net"
    await process.arun(["nsenter", f"--net={path}", *rule])
    async with SpdyClient(server.port_forward_url(sandbox, []), PROTOCOL) as client:
        data, error = await pair(client, PORT + 1, "0")
        await data.send(b"four", fin=True)
        assert await data.all() == b"4\n"
        assert await error.all() == b""


async def test_a_pod_in_the_hosts_network(server: StreamingServer, engine: Engine) -> None:
    host = NamespaceOptions(network=NamespaceMode.NODE)
    security = SandboxSecurity(namespaces=host)
    sandbox = await engine.run_sandbox(pod("host", security=security))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with SpdyClient(server.port_forward_url(sandbox, []), PROTOCOL) as client:
            data, error = await pair(client, port, "0")
            await data.send(b"this", fin=True)
            assert await data.all() == b"got this"
            assert await error.all() == b""


async def test_a_stopped_pod(server: StreamingServer, engine: Engine, sandbox: str) -> None:
    target = server.port_forward_url(sandbox, [])
    await engine.stop_sandbox(sandbox)
    async with SpdyClient(target, PROTOCOL) as client:
        _, error = await pair(client, PORT, "0")
        assert b"not ready" in await error.all()


async def test_channels(server: StreamingServer, sandbox: str, web: str) -> None:
    target = server.port_forward_url(sandbox, [PORT, PORT + 2])
    async with SocketClient(target, "v4.channel.k8s.io") as client:
        for channel in range(4):
            port = PORT + 2 * (channel // 2)
            assert await client.until(channel, port.to_bytes(2, "little"))
        await client.send(0, GET)
        found = await client.end()
        assert found[0].endswith(b"page\n")
        assert str(PORT + 2).encode() in found[3][2:]


class Tunnelled(SpdyClient):
    """SPDY in the messages of a WebSocket."""

    async def __aenter__(self) -> Tunnelled:
        self.outer = SocketClient(self.url, f"SPDY/3.1+{PROTOCOL}")
        await self.outer.__aenter__()
        self.reader = asyncio.StreamReader()
        self.writer = self  # type: ignore[assignment]
        self.outer._handle = self._take  # type: ignore[method-assign]
        self._task = asyncio.create_task(self._read())
        return self

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 0x2:
            self.reader.feed_data(payload)
        elif opcode == 0x8:
            self.reader.feed_eof()

    def write(self, data: bytes) -> None:
        # Cut anywhere.
        for at in range(0, len(data), 7777):
            self.outer.frame(0x2, data[at : at + 7777])

    async def drain(self) -> None:
        await self.outer.writer.drain()

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.outer.__aexit__(None, None, None)


async def test_tunnel(server: StreamingServer, sandbox: str, web: str) -> None:
    async with Tunnelled(server.port_forward_url(sandbox, [])) as client:
        data, error = await pair(client, PORT, "0")
        await data.send(GET)
        assert (await data.all()).endswith(b"page\n")
        data, error = await pair(client, PORT + 1, "1")
        await data.send(bytes(300_000), fin=True)
        assert await data.all() == b"300000\n"
        assert await error.all() == b""
