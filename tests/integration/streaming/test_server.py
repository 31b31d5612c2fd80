"""The server itself: tokens, refusals, TLS, limits, back pressure, its end."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.streaming import Answer, SocketClient, SpdyClient, exit_code, upgrade

from trilby.cri.errors import InvalidRequest, SocketBusy, TooManyStreams
from trilby.cri.streaming.server import StreamingServer
from trilby.cri.streaming.settings import StreamingSettings
from trilby.pods.engine import Engine

V4 = "v4.channel.k8s.io"


def url(server: StreamingServer, container: str, *cmd: str, stdin: bool = False) -> str:
    return server.exec_url(container, cmd, tty=False, stdin=stdin, stdout=True, stderr=False)


async def status_of(target: str, *lines: str, method: str = "GET") -> int:
    with pytest.raises(Answer) as found:
        await upgrade(target, lines, method=method)
    return found.value.status


async def run(target: str, tls: ssl.SSLContext | None = None) -> bytes:
    async with SpdyClient(target, V4, tls=tls) as client:
        streams = await client.command("error", "stdout")
        assert exit_code(await streams["error"].all()) == 0
        return await streams["stdout"].all()


async def test_tokens_are_good_once(server: StreamingServer, container: str) -> None:
    target = url(server, container, "echo", "hello")
    assert await run(target) == b"hello\n"
    assert await status_of(target) == 404
    unknown = target.rpartition("/")[0]
    assert await status_of(f"{unknown}/AAAAAAAAAAAAAAAAAAAAAA") == 404
    assert await status_of(unknown.removesuffix("/exec") + "/") == 404
    other = url(server, container, "true").replace("/exec/", "/attach/")
    assert await status_of(other) == 404


async def test_requests_that_are_refused(server: StreamingServer, container: str) -> None:
    spdy = ("Connection: Upgrade", "Upgrade: SPDY/3.1")
    assert await status_of(url(server, container, "true")) == 400
    assert await status_of(url(server, container, "true"), *spdy) == 400
    old = (*spdy, "X-Stream-Protocol-Version: v0.channel.k8s.io")
    assert await status_of(url(server, container, "true"), *old) == 403
    assert await status_of(url(server, container, "true"), method="DELETE") == 405
    assert await status_of(url(server, container, "true"), "a: " + "x" * 20000) == 431
    assert await status_of(url(server, container, "true"), "Content-Length: 9") == 413
    with pytest.raises(InvalidRequest):
        server.exec_url(container, ["sh"], tty=True, stdin=True, stdout=True, stderr=True)


async def test_expiry_and_limits(engine: Engine) -> None:
    settings = StreamingSettings(token_ttl=0.2, max_tokens=2)
    server = StreamingServer(engine, settings)
    await server.start()
    target = url(server, "c", "true")
    url(server, "c", "true")
    with pytest.raises(TooManyStreams):
        url(server, "c", "true")
    await asyncio.sleep(0.25)
    assert await status_of(target) == 404
    url(server, "c", "true")
    await server.close()


async def test_addresses(engine: Engine) -> None:
    for address, expected in {
        "0.0.0.0": "http://127.0.0.1:",
        "::1": "http://[::1]:",
        "::": "http://[::1]:",
        "localhost": "http://",
    }.items():
        server = StreamingServer(engine, StreamingSettings(address=address))
        await server.start()
        target = url(server, "c", "true")
        assert target.startswith(expected)
        assert await status_of(target) == 400
        await server.close()


async def test_addresses_that_cannot_be(engine: Engine, server: StreamingServer) -> None:
    port = int(url(server, "c", "true").split("/")[2].partition(":")[2])
    with pytest.raises(SocketBusy, match=str(port)):
        await StreamingServer(engine, StreamingSettings(port=port)).start()
    with pytest.raises(InvalidRequest, match="what is this"):
        await StreamingServer(engine, StreamingSettings(address="what is this")).start()


async def test_a_flood_of_pings(server: StreamingServer, container: str) -> None:
    """Answers that the client does not read must not pile up."""
    from trilby.cri.streaming import spdy_frames

    async with SpdyClient(url(server, container, "sleep", "100"), V4) as client:
        await client.command("error", "stdout")
        client._task.cancel()
        # Little that the kernel keeps, so that it is ours that would have to.
        connection = client.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(90):
                while True:
                    client.writer.write(spdy_frames.ping(1) * 10000)
                    await client.writer.drain()


async def test_a_client_that_says_nothing(engine: Engine, container: str) -> None:
    server = StreamingServer(engine, StreamingSettings(creation_timeout=0.3))
    await server.start()
    host, _, port = url(server, container, "true").split("/")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    # The same for streams that are missing.
    async with SpdyClient(url(server, container, "true"), V4) as client:
        await client.open(streamtype="error")
        await asyncio.wait_for(client.closed.wait(), 5)
        assert client.goaway is not None
    async with SpdyClient(server.port_forward_url("s", []), "portforward.k8s.io") as client:
        alone = await client.open(streamtype="error", port="80", requestid="1")
        await asyncio.wait_for(alone.ended.wait(), 5)
        assert alone.was_reset
        again = await client.open(streamtype="data", port="80", requestid="1")
        assert not again.was_reset
    await server.close()


async def test_idle_connections_are_closed(engine: Engine, container: str) -> None:
    server = StreamingServer(engine, StreamingSettings(idle_timeout=0.5))
    await server.start()
    began = time.monotonic()
    async with SpdyClient(url(server, container, "sleep", "100"), V4) as client:
        await client.command("error", "stdout")
        await asyncio.wait_for(client.closed.wait(), 10)
    assert time.monotonic() - began < 5
    await server.close()


async def test_a_client_that_is_not_read_from_is_idle(engine: Engine, container: str) -> None:
    server = StreamingServer(engine, StreamingSettings(idle_timeout=2.5))
    await server.start()
    began = time.monotonic()
    async with SpdyClient(url(server, container, "sleep", "100", stdin=True), V4) as client:
        streams = await client.command("error", "stdin", "stdout")
        await streams["stdin"].send(bytes(700_000))
        await asyncio.wait_for(client.closed.wait(), 20)
    assert time.monotonic() - began < 10
    await server.close()


async def test_close_ends_what_runs(engine: Engine, container: str) -> None:
    server = StreamingServer(engine, StreamingSettings())
    await server.start()
    target = url(server, container, "sh", "-c", "echo on; sleep 335")
    async with SpdyClient(target, V4) as client:
        streams = await client.command("error", "stdout")
        await streams["stdout"].until(b"on\n")
        await server.close()
        await client.closed.wait()
    result = await engine.exec_sync(container, ["sh", "-c", "ps | grep '[s]leep 335'"])
    assert result.exit_code == 1
    with pytest.raises(ConnectionError):
        await run(target)


async def test_a_violation_ends_the_session(server: StreamingServer, container: str) -> None:
    async with SpdyClient(url(server, container, "sleep", "100"), V4) as client:
        await client.command("error", "stdout")
        client.writer.write(b"\x80\x09\x00\x01\x00\x00\x00\x00")
        await asyncio.wait_for(client.closed.wait(), 5)
        assert client.goaway is not None and client.goaway.status == 1
    async with SocketClient(url(server, container, "sleep", "100"), "v5.channel.k8s.io") as socket:
        socket.writer.write(b"\x82\x01xyzw")
        await socket.end()
        assert socket.close_code == 1002


async def test_streams_that_are_refused(server: StreamingServer, container: str) -> None:
    async with SpdyClient(url(server, container, "true"), V4) as client:
        assert (await client.open(streamtype="what")).was_reset
        assert (await client.open()).was_reset
        error = await client.open(streamtype="error")
        assert (await client.open(streamtype="error")).was_reset
        # One that the request did not ask for ends at once.
        extra = await client.open(streamtype="stderr")
        assert await extra.all() == b"" and not extra.was_reset
        await client.open(streamtype="stdout")
        assert exit_code(await error.all()) == 0


async def test_pings_are_answered(server: StreamingServer, container: str) -> None:
    from trilby.cri.streaming import spdy_frames

    async with SpdyClient(url(server, container, "cat", stdin=True), V4) as client:
        streams = await client.command("error", "stdin", "stdout")
        client.writer.write(spdy_frames.ping(7) + spdy_frames.settings({7: 1 << 16}))
        client.writer.write(spdy_frames.ping(2) + spdy_frames.window_update(1, 4096))
        await streams["stdin"].send(b"x", fin=True)
        assert await streams["stdout"].all() == b"x"
        assert client.pongs == [7]


async def test_neither_side_can_fill_the_memory(server: StreamingServer, container: str) -> None:
    """A fast command with a client that does not read, and the other way round."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    target = url(server, container, "sh", "-c", "yes yes yes yes yes & sleep 100", stdin=True)
    async with SpdyClient(target, V4) as client:
        streams = await client.command("error", "stdin", "stdout")
        client.sink[streams["stdout"].number] = lambda data: None
        await asyncio.sleep(0.2)
        client._task.cancel()
        before = resident()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        try:
            async with asyncio.timeout(1):
                while True:
                    await streams["stdin"].send(bytes(1 << 16))
                    sent += 1 << 16
        except TimeoutError:
            pass
        client.writer.transport.abort()
        assert sent < 64 << 20
        assert resident() - before < 16 << 20


def certificate(folder: Path, name: str) -> None:
    """A new key and certificate for 127.0.0.1, under fixed names."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split()
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "new.key"), "-out", str(folder / "new.crt")]
    subprocess.run([*command, *subject, *files], check=True, capture_output=True)
    for kind in ("key", "crt"):
        (folder / f"new.{kind}").rename(folder / f"tls.{kind}")


async def test_tls_with_a_certificate_that_changes(
    engine: Engine, container: str, tmp_path: Path
) -> None:
    certificate(tmp_path, "one")
    settings = StreamingSettings(
        tls_cert=str(tmp_path / "tls.crt"), tls_key=str(tmp_path / "tls.key")
    )
    server = StreamingServer(engine, settings)
    await server.start()
    target = url(server, container, "head", "-c", "3000000", "/dev/zero")
    assert target.startswith("https://127.0.0.1:")
    first = ssl.create_default_context(cafile=settings.tls_cert)
    assert await run(target, first) == bytes(3_000_000)
    async with SocketClient(
        url(server, container, "cat", stdin=True), "v5.channel.k8s.io", tls=first
    ) as socket:
        await socket.send(0, bytes(1_000_000))
        socket.frame(0x2, bytes((255, 0)))
        found = await socket.end()
        assert found[1] == bytes(1_000_000) and exit_code(found[3]) == 0
        certificate(tmp_path, "two")
    with pytest.raises(ssl.SSLCertVerificationError):
        await run(url(server, container, "true"), first)
    second = ssl.create_default_context(cafile=settings.tls_cert)
    assert await run(url(server, container, "echo", "new"), second) == b"new\n"
    # Files that do not fit are not taken.
    (tmp_path / "tls.key").write_text("broken")
    assert await run(url(server, container, "echo", "still"), second) == b"still\n"
    old = ssl.create_default_context(cafile=settings.tls_cert)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await run(url(server, container, "echo", "1.2"), old) == b"1.2\n"
    await server.close()


async def test_tls_with_certificates_of_clients(
    engine: Engine, container: str, tmp_path: Path
) -> None:
    certificate(tmp_path, "one")
    cert, key = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")
    settings = StreamingSettings(
        tls_cert=cert, tls_key=key, tls_ca=cert, tls_min_version="VersionTLS13"
    )
    server = StreamingServer(engine, settings)
    await server.start()
    context = ssl.create_default_context(cafile=cert)
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await run(url(server, container, "true"), context)
    context.load_cert_chain(cert, key)
    assert await run(url(server, container, "echo", "both"), context) == b"both\n"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await run(url(server, container, "true"), context)
    await server.close()


async def test_bad_certificates(engine: Engine, tmp_path: Path) -> None:
    certificate(tmp_path, "one")
    good = str(tmp_path / "tls.crt")
    for bad in (
        StreamingSettings(tls_cert=str(tmp_path / "none"), tls_key=good),
        StreamingSettings(tls_cert=good, tls_key=good),
        StreamingSettings(tls_cert=good, tls_key=good, tls_min_version="TLS1.2"),
    ):
        with pytest.raises(InvalidRequest):
            await StreamingServer(engine, bad).start()


def test_what_is_loaded_before_the_first_client() -> None:
    """An idle daemon must not carry what nobody uses."""
    code = "import sys, trilby.cri.streaming.server;print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"aiohttp", "trilby.cri.streaming.session", "trilby.cri.streaming.spdy"}
