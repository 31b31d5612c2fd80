"""exec, attach, port-forward and logs through the kubelet's HTTPS API, by client-go.

``websocket`` is the newest protocol, which the kubelet turns into SPDY; with ``websocket-v4`` and
``websocket-raw`` the daemon itself is spoken to, behind the kubelet's proxy.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.kubelet.manifests import container, pod
from tests.support.kubernetes_node import AGNHOST, Node, wait_for

pytestmark = pytest.mark.timeout(900)  # the kubelet may have to be built

COMMANDS = ("spdy", "websocket", "websocket-v4")
FORWARDS = ("spdy", "websocket", "websocket-raw")
BIG = bytes(range(256)) * 4096 * 3  # 3 MiB, so that flow control matters


@pytest.fixture(scope="module")
def name(node: Node) -> Iterator[str]:
    chatty = container(
        "chatty", "sh", "-c", "echo out; echo err >&2; echo $(seq 5); sleep 1000 & wait"
    )
    cat = container("cat", "cat", stdin=True)
    shell = container("shell", "sh", stdin=True, tty=True)
    server = container(
        *("server", "/agnhost", "netexec", "--http-port=8080", "--udp-port=-1"), image=AGNHOST
    )
    echo = container("echo", "nc", "-ll", "-p", "7007", "-e", "cat")
    some = container("some", *"nc -ll -p 7008 -e head -c".split(), str(len(BIG)))
    made = pod("streams", chatty, cat, shell, server, echo, some, terminationGracePeriodSeconds=1)
    name = node.add(made)
    node.wait_ready(name)
    yield name
    node.remove(name)


@pytest.mark.parametrize("protocol", COMMANDS)
class TestExec:
    def test_output_and_exit_status(self, node: Node, name: str, protocol: str) -> None:
        script = "echo out; echo err >&2; exit 7"
        place = f"default/{name}/chatty"
        options = ("exec", f"--protocol={protocol}", place, "sh", "-c", script)
        done = node.client(*options, check=False)
        assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)

    def test_much_input_comes_back(self, node: Node, name: str, protocol: str) -> None:
        # websocket-v4 cannot say that the input has ended.
        command = ["head", "-c", str(len(BIG))] if protocol == "websocket-v4" else ["cat"]
        options = ("exec", f"--protocol={protocol}", "--stdin", f"default/{name}/chatty")
        assert node.client(*options, *command, stdin=BIG).stdout == BIG

    def test_a_terminal_of_a_size(self, node: Node, name: str, protocol: str) -> None:
        script = "until [ \"$(stty size 2>/dev/null)\" = '33 101' ]; do sleep 0.05; done; tty; echo err >&2"
        options = ("exec", f"--protocol={protocol}", "--tty", "--stdin", "--size=101x33")
        done = node.client(*options, f"default/{name}/chatty", "sh", "-c", script)
        assert done.stdout == b"/dev/pts/0\r\nerr\r\n"

    def test_a_command_that_is_not_there(self, node: Node, name: str, protocol: str) -> None:
        options = ("exec", f"--protocol={protocol}", f"default/{name}/chatty", "nothing-here")
        done = node.client(*options, check=False)
        assert done.returncode != 0
        assert b"nothing-here" in done.stderr


@pytest.mark.parametrize("protocol", COMMANDS)
class TestAttach:
    def test_input_and_output(self, node: Node, name: str, protocol: str) -> None:
        options = ("attach", f"--protocol={protocol}", "--stdin", f"default/{name}/cat")
        with client(node, *options) as process:
            assert process.stdin and process.stdout
            for line in (b"one\n", b"two\n"):
                process.stdin.write(line)
                process.stdin.flush()
                assert process.stdout.readline() == line

    def test_a_terminal(self, node: Node, name: str, protocol: str) -> None:
        options = ("attach", f"--protocol={protocol}", "--stdin", "--tty", "--size=90x20")
        with client(node, *options, f"default/{name}/shell") as process:
            assert process.stdin and process.stdout
            process.stdin.write(b"echo a$((1+1))b\n")
            process.stdin.flush()
            assert any(line == b"a2b\r\n" for line in process.stdout)


class client:
    """A client that runs until its block ends."""

    def __init__(self, node: Node, *words: str) -> None:
        self._process = node.start_client(*words)
        self._timer = threading.Timer(20, self._process.kill)

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._timer.start()
        return self._process

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.communicate()


@pytest.mark.parametrize("protocol", FORWARDS)
class TestForward:
    def test_many_connections_to_a_server(self, node: Node, name: str, protocol: str) -> None:
        count = 1 if protocol == "websocket-raw" else 8
        options = ("forward", f"--protocol={protocol}", f"--connections={count}")
        query = b"GET /hostname HTTP/1.0\r\n\r\n"
        done = node.client(*options, f"default/{name}", "8080", stdin=query)
        assert done.stdout.count(b"200 OK") == count
        assert done.stdout.count(name.encode()) == count

    def test_much_data_both_ways(self, node: Node, name: str, protocol: str) -> None:
        # websocket-raw cannot say that the input has ended.
        port = "7008" if protocol == "websocket-raw" else "7007"
        options = ("forward", f"--protocol={protocol}", f"default/{name}", port)
        assert node.client(*options, stdin=BIG).stdout == BIG

    def test_a_port_where_nobody_listens(self, node: Node, name: str, protocol: str) -> None:
        options = ("forward", f"--protocol={protocol}", f"default/{name}", "81")
        done = node.client(*options, stdin=b"hello", check=False)
        assert b"refused" in done.stderr


def test_logs(node: Node, name: str) -> None:
    place = f"containerLogs/default/{name}/chatty"

    def lines(query: str = "") -> list[str]:
        return node.get(f"{place}?{query}").decode().splitlines()

    wait_for(lambda: len(lines()) == 3, "three lines", lambda: repr(lines()))
    assert sorted(lines()) == ["1 2 3 4 5", "err", "out"]
    assert len(lines("tailLines=1")) == 1
    stamp = lines("timestamps=true")[0].split(" ")[0]
    assert stamp.startswith("20") and "T" in stamp


def test_logs_are_followed(node: Node, name: str) -> None:
    place = f"containerLogs/default/{name}/cat"
    with (
        client(node, "get", f"{place}?follow=true") as follower,
        client(node, "attach", "--stdin", f"default/{name}/cat") as attached,
    ):
        assert attached.stdin and follower.stdout
        attached.stdin.write(b"a new line\n")
        attached.stdin.flush()
        assert any(line == b"a new line\n" for line in follower.stdout)


def test_many_commands_leave_nothing(node: Node, name: str) -> None:
    """Descriptors and threads of the daemon stay as many as they were."""
    proc = Path(f"/proc/{node.runtime.pid}")

    def counts() -> tuple[int, int]:
        return len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))

    options = ("exec", f"default/{name}/chatty", "true")
    for _ in range(5):
        node.client(*options)
    before = counts()
    for _ in range(60):
        node.client(*options)
    after = counts()
    assert after[0] <= before[0] + 3
    assert after[1] <= before[1] + 3
