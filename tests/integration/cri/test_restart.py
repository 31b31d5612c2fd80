"""A daemon that is killed, ended or started twice: pods do not notice, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.daemon import DaemonProcess, container_config, pod_config
from tests.support.pods import Place

from trilby.cri.client.connection import Connection
from trilby.cri.proto import container_pb2, runtime_pb2, sandbox_pb2
from trilby.errors import TrilbyError


async def wait_for_state(
    daemon: DaemonProcess, container: str, state: container_pb2.ContainerState
) -> container_pb2.ContainerStatus:
    """By the daemon's events; nothing is asked again and again."""
    async with Connection(daemon.socket) as connection:
        events = connection.stream(
            runtime_pb2.GetEventsRequest(), runtime_pb2.ContainerEventResponse
        )
        waiting = asyncio.ensure_future(anext(events))
        try:
            while True:
                status = await daemon.status(container)
                if status.state == state:
                    return status
                await asyncio.wait([waiting], timeout=20)
                waiting = asyncio.ensure_future(anext(events))
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


async def test_containers_outlive_a_killed_daemon(trilbyd: DaemonProcess) -> None:
    sandbox = await trilbyd.run_pod()
    stays = await trilbyd.run(sandbox, "stays")
    before = await trilbyd.status(stays)
    ends = await trilbyd.run(
        sandbox, "ends", "sh", "-c", "while [ ! -e /go ]; do sleep .02; done; exit 7"
    )
    listed = await trilbyd.sandboxes()
    trilbyd.kill()
    # It ends while nobody is there.
    root = trilbyd.place.root
    bundle = root / "rs" / "trilby" / "c" / ends
    spec = (bundle / "config.json").read_text()
    merged = spec.partition('"root":{"path":"')[2].partition('"')[0]
    Path(merged, "go").touch()
    exit_file = root / "rs" / "trilby" / "exits" / ends
    await asyncio.to_thread(wait_for_file, exit_file)
    await trilbyd.start()
    assert await trilbyd.sandboxes() == listed
    assert await trilbyd.status(stays) == before
    ended = await trilbyd.status(ends)
    assert (ended.state, ended.exit_code) == (container_pb2.CONTAINER_EXITED, 7)
    assert ended.finished_at == exit_file.stat().st_mtime_ns
    assert await trilbyd.exec(stays, "echo", "here") == (0, b"here\n")
    # What ends from now on is seen as well.
    await trilbyd.exec(stays, "sh", "-c", "kill 1; kill -9 1")
    request = container_pb2.StopContainerRequest(container_id=stays, timeout=0)
    await trilbyd.call(request, container_pb2.StopContainerResponse)
    assert (await trilbyd.status(stays)).exit_code == 137


async def test_a_daemon_that_ends_leaves_containers_running(trilbyd: DaemonProcess) -> None:
    sandbox = await trilbyd.run_pod()
    container = await trilbyd.run(sandbox)
    before = await trilbyd.status(container)
    assert await trilbyd.stop() == 0
    assert not os.path.exists(trilbyd.socket)
    await trilbyd.start()
    assert await trilbyd.status(container) == before


@pytest.mark.parametrize("step", range(12))
async def test_killed_while_it_makes_a_pod(trilbyd: DaemonProcess, step: int) -> None:
    """At any moment: what is half-made is gone with all it held, and the retry works."""
    delay = 0.012 * step
    container = ""

    async def make() -> None:
        nonlocal container
        sandbox = await trilbyd.run_pod()
        container = await trilbyd.create(sandbox)
        await trilbyd.start_container(container)

    making = asyncio.ensure_future(make())
    await asyncio.wait([making], timeout=delay)
    trilbyd.kill()
    with contextlib.suppress(TrilbyError):
        await making
    await trilbyd.start()
    for sandbox in await trilbyd.sandboxes():
        assert sandbox.state == sandbox_pb2.SANDBOX_READY
    # The kubelet asks again for the same.
    again = await trilbyd.run_pod()
    made = await trilbyd.create(again)
    if (await trilbyd.status(made)).state == container_pb2.CONTAINER_CREATED:
        await trilbyd.start_container(made)
    assert await trilbyd.exec(made, "true") == (0, b"")
    assert len(await trilbyd.sandboxes()) == 1 and len(await trilbyd.containers()) == 1


@pytest.mark.parametrize("step", range(6))
async def test_killed_while_it_removes_a_pod(trilbyd: DaemonProcess, step: int) -> None:
    sandbox = await trilbyd.run_pod()
    await trilbyd.run(sandbox)
    removing = asyncio.ensure_future(trilbyd.remove_pod(sandbox))
    await asyncio.wait([removing], timeout=0.015 * step)
    trilbyd.kill()
    with contextlib.suppress(TrilbyError):
        await removing
    await trilbyd.start()
    await trilbyd.remove_pod(sandbox)
    assert await trilbyd.sandboxes() == [] and await trilbyd.containers() == []


async def test_the_same_request_has_the_same_answer(trilbyd: DaemonProcess) -> None:
    answers = await asyncio.gather(*(trilbyd.run_pod("same") for _ in range(4)))
    assert len(set(answers)) == 1
    made = await asyncio.gather(*(trilbyd.create(answers[0], "same") for _ in range(4)))
    assert len(set(made)) == 1


async def test_a_second_daemon_is_refused(trilbyd: DaemonProcess) -> None:
    second = await asyncio.to_thread(
        subprocess.run, trilbyd.argv, capture_output=True, text=True, timeout=20
    )
    assert second.returncode == 9
    assert f"another daemon answers on {trilbyd.socket}" in second.stderr
    assert await trilbyd.sandboxes() == []


async def test_after_a_reboot_pods_are_stopped_and_their_addresses_free(
    trilbyd: DaemonProcess, place: Place
) -> None:
    """The run root is empty then, and no process lives."""
    sandbox = await trilbyd.run_pod()
    container = await trilbyd.run(sandbox)
    status = await trilbyd.status(container)
    trilbyd.kill()
    _as_a_reboot_does(place, container)
    await trilbyd.start()
    (listed,) = await trilbyd.sandboxes()
    assert listed.state == sandbox_pb2.SANDBOX_NOTREADY
    ended = await trilbyd.status(container)
    assert (ended.state, ended.exit_code) == (container_pb2.CONTAINER_EXITED, 255)
    assert ended.created_at == status.created_at
    networks = place.root / "cni" / "networks"
    assert not list(networks.rglob("10.*")), "the address is still given away"
    await trilbyd.remove_pod(sandbox)


def _as_a_reboot_does(place: Place, container: str) -> None:
    from trilby.pods.sandbox_cgroup import whole_cgroup
    from trilby.system.mount_table import unmount_tree

    cgroup = whole_cgroup(place.cgroup_parent)
    cgroup.kill_all()
    wait_for_file(place.root / "rs" / "trilby" / "exits" / container)  # conmon ends, too
    for kept in (place.root / "s" / "trilby" / "sandboxes").glob("*/*/exit"):
        kept.unlink()  # when the power goes, conmon writes nothing
    unmount_tree(str(place.root))
    subprocess.run(["rm", "-rf", str(place.root / "rs")], check=True)
    subprocess.run(["ip", "link", "delete", place.bridge], check=True)


async def test_a_caller_that_goes_away_leaves_nothing(trilbyd: DaemonProcess) -> None:
    """A deadline that is over undoes what was begun, and the retry begins anew."""
    request = sandbox_pb2.RunPodSandboxRequest(config=pod_config("late"))
    with pytest.raises(TrilbyError):
        await trilbyd.call(request, sandbox_pb2.RunPodSandboxResponse, timeout=0.02)
    sandbox = await trilbyd.run_pod("late")
    create = runtime_pb2.CreateContainerRequest(
        pod_sandbox_id=sandbox, config=container_config("late")
    )
    with pytest.raises(TrilbyError):
        await trilbyd.call(create, container_pb2.CreateContainerResponse, timeout=0.02)
    container = await trilbyd.run(sandbox, "late")
    assert await trilbyd.exec(container, "true") == (0, b"")
