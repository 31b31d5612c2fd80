"""An engine that dies at any point leaves nothing that the next one does not finish or remove."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.pods import Place, busybox, own_engine, pod, store_rootfs

from trilby.pods.engine import Engine
from trilby.pods.model_common import (
    IdMapping,
    NamespaceMode,
    NamespaceOptions,
    UserNamespace,
)
from trilby.pods.model_container import ContainerSecurity
from trilby.pods.model_sandbox import SandboxSecurity
from trilby.pods.model_status import ContainerState, SandboxState
from trilby.system.events import wait_pidfd
from trilby.system.mount_table import list_mounts, unmount

PROGRAM = Path(__file__).with_name("dying_engine.py")
REPOSITORY = Path(__file__).resolve().parents[3]

MAKING = (
    "trilby.pods.sandbox:_make:before",
    "trilby.pods.journal:Journal.write:before",
    "trilby.pods.journal:Journal.write:after",
    "trilby.pods.sandbox:create_pinned:after",
    "trilby.pods.sandbox:_make:after",
    "trilby.pods.network.service:PodNetwork.attach:after",
)
CREATING = (
    "trilby.pods.container:_prepare:before",
    "tests.support.pods:DirectoryRootfs.create:after",
    "trilby.pods.container_bundle:build_bundle:after",
    "trilby.pods.container:_prepare:after",
    "trilby.pods.monitor:_read_line:before",
    "trilby.pods.monitor:_read_line:after",
)
REMOVING = (
    "trilby.pods.recovery_undo:end_processes:before",
    "trilby.pods.recovery_undo:end_processes:after",
    "trilby.pods.recovery_undo:unpin:after",
    "trilby.pods.recovery_undo:remove_tree:before",
    "trilby.pods.recovery_undo:remove_tree:after",
    "trilby.pods.recovery_undo:os.readlink:before",
)


def die(place: Place, point: str) -> None:
    """Run the program until it is killed."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(place.root), place.tag, point],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", [*MAKING, *REMOVING])
async def test_a_sandbox_half_made_or_removed_is_cleared(
    place: Place, nothing_left_behind: None, point: str
) -> None:
    die(place, point)
    async with own_engine(place) as engine:
        assert engine.list_sandboxes() == []
        sandbox = await engine.run_sandbox(pod("pod", uid="0123"))
        assert engine.sandbox_status(sandbox).state is SandboxState.READY


@pytest.mark.parametrize("point", CREATING)
async def test_a_container_half_made_is_cleared_and_its_sandbox_stays(
    place: Place, nothing_left_behind: None, point: str
) -> None:
    die(place, point)
    async with own_engine(place) as engine:
        [sandbox] = engine.list_sandboxes()
        assert sandbox.state is SandboxState.READY
        assert engine.list_containers() == []
        container = await engine.create_container(sandbox.id, busybox("main"))
        await engine.start_container(container)


async def test_without_recovery_the_same_request_clears_the_way(
    place: Place, nothing_left_behind: None
) -> None:
    die(place, "trilby.pods.sandbox:create_pinned:after")
    async with own_engine(place) as engine:
        sandbox = await engine.run_sandbox(pod("pod", uid="0123"))
        assert [status.id for status in engine.list_sandboxes()] == [sandbox]


@pytest.mark.parametrize(
    ("when", "state"), [("before", ContainerState.CREATED), ("after", ContainerState.RUNNING)]
)
async def test_a_start_that_was_interrupted_is_settled(
    place: Place, nothing_left_behind: None, when: str, state: ContainerState
) -> None:
    die(place, f"trilby.pods.runtime:Runtime.start:{when}")
    async with own_engine(place) as engine:
        [container] = engine.list_containers()
        assert container.state is state
        if state is ContainerState.CREATED:
            await engine.start_container(container.id)
        assert (await engine.exec_sync(container.id, ["echo", "alive"])).stdout == b"alive\n"


async def test_a_new_engine_goes_on_with_living_containers(
    place: Place, nothing_left_behind: None
) -> None:
    shared = SandboxSecurity(namespaces=NamespaceOptions(pid=NamespaceMode.POD))
    async with own_engine(place) as outer:
        sandbox = await outer.run_sandbox(pod("pod", security=shared))
        script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
        containers = [
            await outer.create_container(sandbox, busybox(f"c{number}", "sh", "-c", script))
            for number in range(2)
        ]
        for container in containers:
            await outer.start_container(container)
        await asyncio.gather(*(ready(outer, container) for container in containers))
        second = Engine(outer._parts.config, outer._parts.rootfs)
        assert await second.start() == []
        assert second.sandbox_status(sandbox).state is SandboxState.READY
        assert second.container_status(containers[0]).state is ContainerState.RUNNING
        assert (await second.exec_sync(containers[0], ["echo", "x"])).stdout == b"x\n"
        waiting = asyncio.create_task(outer.wait_container(containers[0]))
        await second.stop_container(containers[0])
        assert await waiting == 9
        await second.close()
        # While nobody watches:
        pid = outer.container_status(containers[1]).pid
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        await wait_pidfd(pidfd)
        os.close(pidfd)
        third = Engine(outer._parts.config, outer._parts.rootfs)
        await third.start()
        assert await third.wait_container(containers[1]) == 9
        await third.close()


async def ready(engine: Engine, container: str) -> None:
    from trilby.pods.logs_read import LogOptions

    async for _ in engine.logs(container, LogOptions(follow=True)):
        return


async def test_a_container_whose_monitor_was_killed_ends_unknown(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod())
    container = await engine.create_container(sandbox, busybox())
    await engine.start_container(container)
    live = engine._parts.layout.load_container_live(container)
    assert live is not None
    os.kill(live.monitor_pid, signal.SIGKILL)
    assert engine.container_status(container).state is ContainerState.RUNNING
    await engine.stop_container(container, 0)
    status = engine.container_status(container)
    assert (status.exit_code, status.reason) == (255, "Unknown")


async def test_after_a_restart_of_the_host(place: Place, nothing_left_behind: None) -> None:
    async with own_engine(place) as engine:
        sandbox = await engine.run_sandbox(pod())
        container = await engine.create_container(sandbox, busybox())
        await engine.start_container(container)
        await engine.stop_sandbox(sandbox)
        # What is on tmpfs is gone with a restart, and every mount.
        for path in mounts_below(place.root / "r"):
            unmount(path, lazy=True)
        shutil.rmtree(place.root / "r")
        again = Engine(engine._parts.config, engine._parts.rootfs)
        await again.start()
        assert again.sandbox_status(sandbox).reason == "HostRestarted"
        assert again.container_status(container).state is ContainerState.EXITED
        await again.remove_sandbox(sandbox)
        await again.close()


def mounts_below(path: Path) -> list[str]:
    return [mount.target for mount in list_mounts(under=str(path))]


async def test_containers_from_a_store(store_engine: Engine, place: Place) -> None:
    sandbox = await store_engine.run_sandbox(pod())
    container = await store_engine.create_container(sandbox, busybox("main", "sh", "-c",
        "echo data > /file; cat /file"))  # fmt: skip
    await store_engine.start_container(container)
    assert await store_engine.wait_container(container) == 0
    status = store_engine.container_status(container)
    assert status.image_ref.startswith("docker.io/library/busybox@sha256:")
    stats = await asyncio.to_thread(store_engine.container_stats, container)
    assert stats.writable_layer and stats.writable_layer.used_bytes > 0
    rootfs = store_rootfs(place)
    assert rootfs.leftovers(set()) == [container]
    assert rootfs.leftovers({container}) == []
    rootfs.store.close()


@pytest.mark.parametrize("pid", [NamespaceMode.CONTAINER, NamespaceMode.POD])
async def test_a_user_namespace(store_engine: Engine, pid: NamespaceMode) -> None:
    maps = (IdMapping(container_id=0, host_id=300000, length=65536),)
    userns = UserNamespace(mode=NamespaceMode.POD, uids=maps, gids=maps)
    security = SandboxSecurity(namespaces=NamespaceOptions(userns=userns, pid=pid))
    sandbox = await store_engine.run_sandbox(pod(security=security))
    script = "cat /proc/self/uid_map; stat -c %u /bin/busybox; touch /new; hostname x || echo no"
    container = await store_engine.create_container(
        sandbox,
        busybox(
            "main",
            "sh",
            "-c",
            script,
            security=ContainerSecurity(namespaces=NamespaceOptions(pid=pid)),
        ),
    )
    await store_engine.start_container(container)
    assert await store_engine.wait_container(container) == 0
    log = store_engine.log_path(container).read_text()
    assert "300000      65536" in log and " F 0\n" in log


@pytest.mark.parametrize("journal", [True, False])
async def test_records_that_a_power_failure_emptied(
    place: Place, nothing_left_behind: None, journal: bool
) -> None:
    async with own_engine(place) as engine:
        sandbox = await engine.run_sandbox(pod())
        container = await engine.create_container(sandbox, busybox())
        await engine.start_container(container)
        home = place.root / "s" / "trilby" / "sandboxes" / sandbox
        (home / "sandbox.json").write_bytes(b"")
        if not journal:
            (home / "journal").write_bytes(b"")
        again = Engine(engine._parts.config, engine._parts.rootfs)
        done = await again.start()
        assert any(sandbox in line for line in done)
        assert again.list_sandboxes() == []
        await again.close()
