"""Exec over WebSocket in all its subprotocols."""

from __future__ import annotations

import json

import pytest
from tests.support.streaming import Answer, SocketClient, exit_code

from trilby.cri.streaming.server import StreamingServer

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
SCRIPT = "cat; echo err >&2; exit 3"
ALL = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
]


def url(
    server: StreamingServer, container: str, *cmd: str, stdin: bool = False, tty: bool = False
) -> str:
    return server.exec_url(container, cmd, tty=tty, stdin=stdin, stdout=True, stderr=not tty)


@pytest.mark.parametrize("protocol", [*ALL, ""])
async def test_output_and_exit_code(server: StreamingServer, container: str, protocol: str) -> None:
    target = url(server, container, "sh", "-c", "echo out; echo err >&2; exit 3")
    async with SocketClient(target, *filter(None, [protocol])) as client:
        assert client.protocol == protocol
        found = await client.end()
        assert client.messages[0] == (STDOUT, b"")
        assert (found[STDOUT], found[STDERR]) == (b"out\n", b"err\n")
        if protocol.startswith(("v4.", "v5.")):
            assert exit_code(found[ERROR]) == 3
        else:
            assert b"exit status 3" in found[ERROR]
        assert client.close_code == 1000


async def test_half_close(server: StreamingServer, container: str) -> None:
    target = url(server, container, "sh", "-c", "cat | wc -c", stdin=True)
    async with SocketClient(target, "v9.channel.k8s.io", "v5.channel.k8s.io") as client:
        await client.send(STDIN, bytes(500_000))
        client.frame(0x2, bytes((255, STDIN)))
        found = await client.end()
        assert found[STDOUT] == b"500000\n"
        assert exit_code(found[ERROR]) == 0


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"])
async def test_large_data(server: StreamingServer, container: str, protocol: str) -> None:
    size = 5_000_000
    target = url(server, container, "sh", "-c", f"head -c {size}", stdin=True)
    async with SocketClient(target, protocol) as client:
        data = b"0123456789" * (size // 10)
        await client.send(STDIN, data + b"more")
        found = await client.end()
        assert found[STDOUT] == data
        assert exit_code(found[ERROR]) == 0


async def test_terminal(server: StreamingServer, container: str) -> None:
    async with SocketClient(url(server, container, "sh", stdin=True, tty=True), ALL[1]) as client:
        await client.send(RESIZE, json.dumps({"Width": 111, "Height": 22}).encode())
        await client.send(STDIN, b"while [ \"$(stty size)\" != '22 111' ]; do sleep 0.05; done\n")
        await client.send(STDIN, b"stty size; exit 6\n")
        found = await client.end()
        assert b"22 111" in found[STDOUT]
        assert exit_code(found[ERROR]) == 6


async def test_messages_in_frames_with_pings_between(
    server: StreamingServer, container: str
) -> None:
    target = url(server, container, "sh", "-c", "head -c 11", stdin=True)
    async with SocketClient(target, ALL[0]) as client:
        client.frame(0x2, bytes((STDIN,)) + b"hello", final=False)
        client.frame(0x9, b"alive?")
        client.frame(0x0, b"", final=False)
        client.frame(0x0, b" world")
        found = await client.end()
        assert found[STDOUT] == b"hello world"
        assert client.pongs == [b"alive?"]


async def test_unknown_protocols_are_refused(server: StreamingServer, container: str) -> None:
    with pytest.raises(Answer) as found:
        async with SocketClient(url(server, container, "true"), "v9.channel.k8s.io"):
            pass
    assert found.value.status == 403
