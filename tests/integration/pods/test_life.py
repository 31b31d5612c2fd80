"""A pod's life with real components: runc, conmon and the CNI plugins."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest
from tests.support.pods import Place, busybox, own_engine, pod

from trilby.pods.engine import Engine
from trilby.pods.errors import (
    ContainerNotFound,
    InvalidPodConfig,
    NameInUse,
    SandboxNotFound,
    SandboxNotReady,
    StartFailed,
)
from trilby.pods.events import EventType
from trilby.pods.logs_read import LogOptions
from trilby.pods.model_common import NamespaceMode, NamespaceOptions, Resources
from trilby.pods.model_container import ContainerSecurity, Mount
from trilby.pods.model_sandbox import SandboxSecurity
from trilby.pods.model_status import ContainerState, SandboxState
from trilby.system.events import wait_pidfd


async def run(engine: Engine, sandbox: str, *command: str, **changes: object) -> str:
    container = await engine.create_container(sandbox, busybox("main", *command, **changes))
    await engine.start_container(container)
    return container


async def log_of(engine: Engine, container: str) -> bytes:
    options = LogOptions(follow=True)
    return b"".join([entry.data async for entry in engine.logs(container, options)])


async def first_line(engine: Engine, container: str) -> bytes:
    """Wait until it has said something: before its exec it is the runtime, with its own handlers."""
    async for entry in engine.logs(container, LogOptions(follow=True)):
        return entry.data
    return b""


async def test_a_pod_runs(engine: Engine, place: Place) -> None:
    sandbox = await engine.run_sandbox(pod("web", hostname="box", labels={"app": "web"}))
    status = engine.sandbox_status(sandbox)
    assert status.state is SandboxState.READY
    assert status.ips[0].startswith(place.subnet.removesuffix("0/24"))
    container = await run(engine, sandbox, "sh", "-c", "hostname; ip addr; ls /proc/self/fd")
    assert await engine.wait_container(container) == 0
    output = await log_of(engine, container)
    assert b"box\n" in output and status.ips[0].encode() in output
    ended = engine.container_status(container)
    assert (ended.state, ended.reason, ended.exit_code) == (ContainerState.EXITED, "Completed", 0)
    assert ended.created_at <= ended.started_at <= ended.finished_at
    await engine.stop_sandbox(sandbox)
    assert engine.sandbox_status(sandbox).state is SandboxState.NOTREADY
    with pytest.raises(SandboxNotReady):
        await engine.create_container(sandbox, busybox("late"))
    await engine.remove_sandbox(sandbox)
    with pytest.raises(SandboxNotFound):
        engine.sandbox_status(sandbox)
    await engine.remove_sandbox(sandbox)


async def test_the_same_request_again_is_the_same_thing(engine: Engine) -> None:
    config = pod()
    first, second = await asyncio.gather(engine.run_sandbox(config), engine.run_sandbox(config))
    assert first == second
    request = busybox("main")
    one, other = await asyncio.gather(
        engine.create_container(first, request), engine.create_container(first, request)
    )
    assert one == other
    with pytest.raises(NameInUse):
        await engine.create_container(first, busybox("main", "true"))
    await engine.stop_sandbox(first)
    with pytest.raises(NameInUse):
        await engine.run_sandbox(config)


async def test_stopping_gives_grace_and_then_kills(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod())
    loop = "echo ready; while :; do sleep 0.1; done"
    polite = await run(engine, sandbox, "sh", "-c", f"trap 'exit 7' TERM; {loop}")
    await first_line(engine, polite)
    await engine.stop_container(polite, timeout=10)
    assert engine.container_status(polite).exit_code == 7
    await engine.remove_container(polite)
    deaf = await run(engine, sandbox, "sh", "-c", f"trap '' TERM; {loop}")
    await first_line(engine, deaf)
    await engine.stop_container(deaf, timeout=0.3)
    status = engine.container_status(deaf)
    assert (status.exit_code, status.reason) == (137, "Error")
    await engine.stop_container(deaf)
    await engine.remove_container(deaf)
    with pytest.raises(ContainerNotFound):
        engine.container_status(deaf)


async def test_a_failed_start_stays_as_evidence(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod())
    container = await engine.create_container(sandbox, busybox("main", "/no/such/program"))
    with pytest.raises(StartFailed, match="/no/such/program"):
        await engine.start_container(container)
    status = engine.container_status(container)
    assert (status.state, status.exit_code) == (ContainerState.EXITED, 128)
    assert status.reason == "StartError" and "/no/such/program" in status.message
    with pytest.raises(StartFailed):
        await engine.start_container(container)


async def test_memory_over_the_limit_is_oom(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod())
    hungry = ("sh", "-c", "x=$(yes | head -c 100000000); echo $x | wc -c")
    container = await run(
        engine, sandbox, *hungry, resources=Resources(memory_limit=20 * 1024 * 1024)
    )
    assert await engine.wait_container(container) == 137
    assert engine.container_status(container).reason == "OOMKilled"
    assert not os.path.exists("oom"), "conmon leaves it where it is started"


async def test_a_shared_pid_namespace(engine: Engine) -> None:
    shared = NamespaceOptions(pid=NamespaceMode.POD)
    sandbox = await engine.run_sandbox(pod(security=SandboxSecurity(namespaces=shared)))
    security = ContainerSecurity(namespaces=shared)
    sleeper = await run(engine, sandbox, "sh", "-c", "sleep 987 & sleep 988", security=security)
    other = await engine.create_container(sandbox, busybox("other", "ps", security=security))
    await engine.start_container(other)
    processes = await log_of(engine, other)
    assert b"catatonit" in processes and b"sleep 988" in processes
    await engine.stop_container(sleeper, timeout=0)
    seen = await engine.create_container(sandbox, busybox("again", "ps", security=security))
    await engine.start_container(seen)
    assert b"sleep 98" not in await log_of(engine, seen)
    infra = os.pidfd_open(engine.sandbox_status(sandbox).pid)
    signal.pidfd_send_signal(infra, signal.SIGKILL)
    await wait_pidfd(infra)
    os.close(infra)
    assert engine.sandbox_status(sandbox).reason == "InfraExited"


async def test_host_network_and_host_pid(engine: Engine) -> None:
    host = NamespaceOptions(network=NamespaceMode.NODE, pid=NamespaceMode.NODE)
    sandbox = await engine.run_sandbox(pod(security=SandboxSecurity(namespaces=host)))
    assert engine.sandbox_status(sandbox).ips == ()
    container = await run(
        engine,
        sandbox,
        "sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; hostname",
        security=ContainerSecurity(namespaces=host),
    )  # fmt: skip
    lines = (await log_of(engine, container)).decode().split()
    wanted = [os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/pid")]
    assert lines == [*wanted, os.uname().nodename]


async def test_privileged_sees_devices_and_capabilities(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod(security=SandboxSecurity(privileged=True)))
    container = await run(
        engine, sandbox, "sh", "-c", "ls /dev; grep CapEff /proc/self/status; touch /sys/x",
        security=ContainerSecurity(privileged=True),
    )  # fmt: skip
    output = await log_of(engine, container)
    assert b"loop-control" in output or b"kmsg" in output
    assert int(re.findall(rb"CapEff:\s+([0-9a-f]+)", output)[0], 16) & (1 << 21)  # SYS_ADMIN


async def test_events_tell_the_life(engine: Engine) -> None:
    seen = []
    stopped = asyncio.Event()

    async def listen() -> None:
        async for event in engine.subscribe():
            seen.append((event.type, event.container_id))
            if event.type is EventType.STOPPED:
                stopped.set()
            if event.type is EventType.DELETED and event.container_id == event.sandbox_id:
                return

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0)
    sandbox = await engine.run_sandbox(pod())
    container = await run(engine, sandbox, "true")
    await engine.wait_container(container)
    await asyncio.wait_for(stopped.wait(), 10)
    await engine.remove_container(container)
    await engine.remove_sandbox(sandbox)
    await asyncio.wait_for(listener, 10)
    kinds = [kind for kind, some in seen if some == container]
    assert kinds == [EventType.CREATED, EventType.STARTED, EventType.STOPPED, EventType.DELETED]


async def test_stats_and_update(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod())
    container = await run(engine, sandbox, "sh", "-c", "echo ready; while :; do :; done")
    await first_line(engine, container)
    first = await asyncio.to_thread(engine.container_stats, container)
    assert first.cpu and first.memory and first.memory.working_set > 0
    assert first.process_count == 1
    assert first.writable_layer and first.writable_layer.used_bytes > 0
    await asyncio.sleep(0.05)
    second = await asyncio.to_thread(engine.container_stats, container)
    assert second.cpu and second.cpu.usage_nano_cores and second.cpu.usage_nano_cores > 0
    pod_stats = await asyncio.to_thread(engine.sandbox_stats, sandbox)
    assert pod_stats.cpu and pod_stats.cpu.usage_core_nanoseconds > 0
    assert [interface.name for interface in pod_stats.interfaces] == ["eth0"]
    assert [one.id for one in pod_stats.containers] == [container]
    limits = Resources(cpu_shares=100, memory_limit=50 * 1024 * 1024)
    await engine.update_resources(container, limits)
    changed = await asyncio.to_thread(engine.container_stats, container)
    assert changed.memory and changed.memory.available
    assert changed.memory.available <= 50 * 1024 * 1024
    assert engine.container_status(container).resources.cpu_shares == 100


async def test_containers_can_be_created_before_the_network_is_up(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod(), wait_network=False)
    container = await run(engine, sandbox, "ip", "addr")
    address = engine.sandbox_status(sandbox).ips[0]
    assert address.encode() in await log_of(engine, container)


async def test_a_failed_network_leaves_nothing(place: Place, nothing_left_behind: None) -> None:
    broken = place.root / "net.d"
    broken.mkdir()
    (broken / "1.conflist").write_text(
        '{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "no-plugin"}]}'
    )
    async with own_engine(place) as engine:
        config = pod()
        with pytest.raises(Exception, match="no-plugin"):
            await engine.run_sandbox(config)
        assert engine.list_sandboxes() == []
        sandbox = await engine.run_sandbox(config, wait_network=False)
        with pytest.raises(Exception, match="no-plugin|does not exist"):
            await engine.create_container(sandbox, busybox())
            await engine.wait_network(sandbox)
        assert engine.list_sandboxes() == []


async def test_files_of_the_pod(engine: Engine) -> None:
    from trilby.pods.model_sandbox import DNSConfig

    dns = DNSConfig(servers=("192.0.2.1",), searches=("a.test", "b.test"), options=("ndots:5",))
    sandbox = await engine.run_sandbox(
        pod(hostname="named", dns=dns, sysctls={"net.ipv4.ip_unprivileged_port_start": "1"})
    )
    script = "cat /etc/resolv.conf /etc/hosts /etc/hostname; df /dev/shm | tail -n 1"
    script += "; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    container = await run(engine, sandbox, "sh", "-c", script)
    output = (await log_of(engine, container)).decode()
    assert "search a.test b.test\nnameserver 192.0.2.1\noptions ndots:5\n" in output
    assert f"{engine.sandbox_status(sandbox).ips[0]}\tnamed\n" in output
    assert "\nnamed\n" in output and "65536" in output and output.endswith("\n1\n")


async def test_log_path_of_the_request(engine: Engine, place: Place) -> None:
    folder = place.root / "logs"
    sandbox = await engine.run_sandbox(pod(log_directory=str(folder)))
    with pytest.raises(InvalidPodConfig, match="leads out"):
        await engine.create_container(sandbox, busybox(log_path="../x"))
    container = await run(engine, sandbox, "sh", "-c", "echo out; echo err >&2; printf part",
                          log_path="main/0.log")  # fmt: skip
    await engine.wait_container(container)
    lines = [line.split(" ", 3) for line in Path(folder, "main/0.log").read_text().splitlines()]
    assert sorted(line[1:] for line in lines) == [
        ["stderr", "F", "err"],
        ["stdout", "F", "out"],
        ["stdout", "P", "part"],
    ]


async def test_mounts(engine: Engine, place: Place) -> None:
    host = place.root / "host"
    host.mkdir()
    (host / "file").write_text("seen")
    mounts = (
        Mount(container_path="/rw", host_path=str(host)),
        Mount(container_path="/ro", host_path=str(host), readonly=True),
        Mount(container_path="/rro", host_path=str(host), readonly=True, recursive_read_only=True),
    )
    sandbox = await engine.run_sandbox(pod())
    script = "cat /ro/file; echo new > /rw/new; touch /ro/x || echo no; touch /rro/x || echo no"
    container = await run(engine, sandbox, "sh", "-c", script, mounts=mounts)
    assert await engine.wait_container(container) == 0
    assert (host / "new").read_text() == "new\n" and not (host / "x").exists()
    assert (await log_of(engine, container)).count(b"no\n") == 2
    assert engine.container_status(container).mounts == mounts


async def test_a_daemon_sees_a_network_that_appears(place: Place, engine: Engine) -> None:
    await engine.follow()
    await engine.check_network()
    assert engine.list_containers() == []
    with pytest.raises(SandboxNotFound):
        engine.list_containers("0" * 64)
