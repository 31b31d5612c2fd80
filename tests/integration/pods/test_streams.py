"""What goes into containers and comes out: exec, attach, logs, terminals, ports."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.support.pods import busybox, pod

from trilby.pods.attach import AttachedStreams, Stream
from trilby.pods.engine import Engine
from trilby.pods.errors import ExecTimeout, RuntimeFailed, StreamFailed, WrongContainerState
from trilby.pods.exec import ExecStreams
from trilby.pods.logs_read import LogOptions
from trilby.system.cgroups import Cgroup


async def run(engine: Engine, *command: str, **changes: object) -> tuple[str, str]:
    sandbox = await engine.run_sandbox(pod())
    container = await engine.create_container(sandbox, busybox("main", *command, **changes))
    await engine.start_container(container)
    return sandbox, container


async def test_exec_sync(engine: Engine) -> None:
    _, container = await run(engine)
    result = await engine.exec_sync(container, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    assert (await engine.exec_sync(container, ["sh", "-c", "kill -9 $$"])).exit_code == 137
    with pytest.raises(RuntimeFailed, match="/no/such"):
        await engine.exec_sync(container, ["/no/such"])
    await engine.stop_container(container, 0)
    with pytest.raises(WrongContainerState):
        await engine.exec_sync(container, ["true"])


async def test_exec_does_not_wait_for_the_background(engine: Engine) -> None:
    _, container = await run(engine)
    began = time.monotonic()
    result = await engine.exec_sync(container, ["sh", "-c", "sleep 30 & echo started"])
    assert result.stdout == b"started\n" and time.monotonic() - began < 5


async def test_exec_timeout_kills_what_it_started(engine: Engine) -> None:
    _, container = await run(engine)
    cgroup = Cgroup(engine._parts.layout.load_container(
        *engine._parts.layout.find_container(container)
    ).cgroup)  # fmt: skip
    before = cgroup.pids()
    script = "sleep 300 & (sleep 301 & sleep 302) & wait"
    with pytest.raises(ExecTimeout):
        await engine.exec_sync(container, ["sh", "-c", script], timeout=0.5)
    for _ in range(100):
        if cgroup.pids() == before:
            break
        await asyncio.sleep(0.02)
    assert cgroup.pids() == before


async def test_exec_output_is_limited(engine: Engine) -> None:
    _, container = await run(engine)
    command = ["sh", "-c", "yes | head -c 20000000"]
    result = await engine.exec_sync(container, command)
    assert result.truncated and len(result.stdout) == 16 * 1024 * 1024


async def test_exec_with_streams(engine: Engine) -> None:
    _, container = await run(engine)
    read_in, write_in = os.pipe()
    read_out, write_out = os.pipe()
    session = await engine.exec(
        container,
        ["sh", "-c", "id -u; cat"],
        streams=ExecStreams(stdin=read_in, stdout=write_out),
        user="1000:1000",
    )
    os.close(read_in)
    os.close(write_out)
    os.write(write_in, b"hello")
    os.close(write_in)
    assert await session.wait() == 0
    assert os.read(read_out, 100) == b"1000\nhello"
    os.close(read_out)
    await session.close()


async def test_exec_with_a_terminal(engine: Engine) -> None:
    _, container = await run(engine)
    session = await engine.exec(container, ["sh"], streams=ExecStreams(), tty=True)
    session.resize(33, 121)
    os.write(session.terminal, b"stty size; tty; exit 5\n")
    assert await session.wait() == 5
    output = await asyncio.to_thread(drain, session.terminal)
    assert b"33 121" in output and b"/dev/pts/" in output
    await session.close()


def drain(terminal: int) -> bytes:
    data = b""
    try:
        while chunk := os.read(terminal, 4096):
            data += chunk
    except OSError:
        pass  # EIO: the other end is closed
    return data


async def collect(attached: AttachedStreams) -> dict[Stream, bytes]:
    found = {Stream.STDOUT: b"", Stream.STDERR: b""}
    async for stream, data in attached:
        found[stream] += data
    return found


async def test_attach(engine: Engine) -> None:
    script = "echo ready; cat; echo bye >&2"
    _, container = await run(engine, "sh", "-c", script, stdin=True, stdin_once=True)
    attached = await engine.attach(container)
    await attached.write(b"x" * 20000 + b"\n")
    attached.close_stdin()
    found = await asyncio.wait_for(collect(attached), 10)
    attached.close()
    assert found[Stream.STDOUT].endswith(b"x" * 20000 + b"\n")
    assert found[Stream.STDERR] == b"bye\n"
    assert await engine.wait_container(container) == 0
    with pytest.raises(WrongContainerState):
        await engine.attach(container)


async def test_attach_to_a_terminal(engine: Engine) -> None:
    _, container = await run(engine, "sh", stdin=True, tty=True)
    attached = await engine.attach(container)
    attached.resize(44, 132)
    await attached.write(b"stty size\nexit 4\n")
    found = await asyncio.wait_for(collect(attached), 10)
    attached.close()
    assert await engine.wait_container(container) == 4
    assert b"44 132" in found[Stream.STDOUT]


async def test_logs(engine: Engine) -> None:
    script = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i; done; echo e >&2"
    script += "; yes x | head -n 10000 | tr -d '\\n'; echo"
    _, container = await run(engine, "sh", "-c", script)
    await engine.wait_container(container)

    async def read(**options: object) -> bytes:
        entries = engine.logs(container, LogOptions(**options))  # type: ignore[arg-type]
        return b"".join([entry.data async for entry in entries])

    everything = await read(stream="stdout")
    assert everything.count(b"\n") == 21 and everything.endswith(b"x" * 10000 + b"\n")
    assert await read(stream="stderr") == b"e\n"
    # Two pipes: what came over stderr may stand before, within or after the long line.
    last = await read(tail=1)
    assert last == b"e\n" or (last.endswith(b"x\n") and everything.endswith(last))
    assert await read(since_ns=time.time_ns()) == b""
    assert await read(follow=True, stream="stdout") == everything


async def test_following_goes_on_over_a_rotation(engine: Engine) -> None:
    script = "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two"
    _, container = await run(engine, "sh", "-c", script)
    seen = []
    async for entry in engine.logs(container, LogOptions(follow=True)):
        seen.append(entry.data)
        if seen == [b"one\n"]:
            log = engine.log_path(container)
            log.rename(log.with_suffix(".old"))
            await engine.reopen_log(container)
            await engine.exec_sync(container, ["touch", "/go"])
    assert seen == [b"one\n", b"two\n"]
    assert b"two" in Path(log).read_bytes()


async def test_port_forward(engine: Engine) -> None:
    script = "mkdir /www; echo page > /www/index.html; httpd -p 127.0.0.1:8080 -h /www; sleep 100"
    sandbox, container = await run(engine, "sh", "-c", script)
    while (await engine.exec_sync(container, ["sh", "-c", "ps | grep -q '[h]ttpd -p'"])).exit_code:
        pass
    connection = await engine.port_forward(sandbox, 8080)
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"page\n")
    writer.close()
    await writer.wait_closed()
    with pytest.raises(StreamFailed, match="8081"):
        await engine.port_forward(sandbox, 8081)
