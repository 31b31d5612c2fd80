"""The followed inventory says at any moment what one that reads all files says."""

from __future__ import annotations

import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from trilby.pods.model_container import ContainerConfig, ImageSpec
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.state import (
    CREATED,
    CREATING,
    FAILED,
    READY,
    RUNNING,
    STOPPED,
    ContainerLive,
    ContainerRecord,
    Layout,
    SandboxLive,
    SandboxRecord,
    new_id,
)
from trilby.pods.state_followed import FollowedInventory
from trilby.pods.state_process import start_time
from trilby.pods.state_status import Inventory


class Node:
    """State files as the engine writes them, and processes that can be ended."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(str(folder / "root"), str(folder / "run"))
        self.layout.make()
        self.plain = Inventory(self.layout)
        self.followed = FollowedInventory(self.layout)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.made = 0

    def close(self) -> None:
        self.followed.close()
        for pid in list(self.processes):
            self.end(pid)

    def check(self) -> None:
        """Both say the same, and once more when nothing has happened."""
        for _ in range(2):
            assert self.followed.sandboxes() == self.plain.sandboxes()
            assert self.followed.containers() == self.plain.containers()

    def process(self) -> tuple[int, int]:
        child = subprocess.Popen(["sleep", "1000"])
        self.processes[child.pid] = child
        return child.pid, start_time(child.pid)

    def end(self, pid: int) -> None:
        child = self.processes.pop(pid, None)
        if child is not None:
            child.kill()
            child.wait()

    def sandbox(self, *, infra: bool = False) -> str:
        sandbox_id = new_id()
        self.made += 1
        pid, start = self.process() if infra else (0, 0)
        os.mkdir(self.layout.sandbox_dir(sandbox_id))
        self.check()
        self.layout.save_sandbox(_sandbox(sandbox_id, self.made))
        os.mkdir(self.layout.sandbox_run(sandbox_id))
        self.layout.save_sandbox_live(sandbox_id, SandboxLive(phase=CREATING))
        self.check()
        live = SandboxLive(phase=READY, infra_pid=pid, infra_start=start)
        self.layout.save_sandbox_live(sandbox_id, live)
        return sandbox_id

    def container(self, sandbox_id: str) -> str:
        container_id = new_id()
        self.made += 1
        os.mkdir(self.layout.container_dir(sandbox_id, container_id))
        os.mkdir(self.layout.bundle(container_id))
        self.layout.save_container_live(container_id, ContainerLive(phase=CREATING))
        self.check()
        self.layout.save_container(_container(sandbox_id, container_id, self.made))
        self.check()
        pid, start = self.process()
        monitor, monitor_start = self.process()
        live = ContainerLive(
            phase=CREATED,
            pid=pid,
            pid_start=start,
            monitor_pid=monitor,
            monitor_start=monitor_start,
        )
        self.layout.save_container_live(container_id, live)
        return container_id

    def live(self, container_id: str) -> ContainerLive:
        found = self.layout.load_container_live(container_id)
        assert found is not None
        return found

    def ended(self, container_id: str, code: int = 3) -> None:
        """As conmon tells it."""
        path = self.layout.exit_file(container_id)
        Path(f"{path}.random").write_text(str(code))
        os.rename(f"{path}.random", path)

    def remove(self, sandbox_id: str) -> None:
        self.layout.hide_sandbox(sandbox_id)
        self.check()
        for container_id in self.layout.container_ids(sandbox_id):
            self.remove_container(sandbox_id, container_id)
        subprocess.run(["rm", "-r", self.layout.sandbox_run(sandbox_id)], check=True)
        self.check()
        subprocess.run(["rm", "-r", self.layout.sandbox_dir(sandbox_id)], check=True)

    def remove_container(self, sandbox_id: str, container_id: str) -> None:
        self.layout.hide_container(sandbox_id, container_id)
        self.check()
        subprocess.run(["rm", "-r", self.layout.bundle(container_id)], check=True)
        Path(self.layout.exit_file(container_id)).unlink(missing_ok=True)
        subprocess.run(["rm", "-r", self.layout.container_dir(sandbox_id, container_id)])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def test_every_change_is_seen(node: Node) -> None:
    node.check()
    sandbox = node.sandbox(infra=True)
    node.check()
    container = node.container(sandbox)
    node.check()
    node.layout.save_container_live(container, replace(node.live(container), phase=RUNNING))
    node.check()
    [before] = node.followed.containers()
    assert node.followed.containers()[0] is before, "it was read again without need"
    node.ended(container)
    node.check()
    Path(node.layout.container_dir(sandbox, container), "oom").touch()
    node.check()
    [status] = node.followed.containers()
    assert (status.exit_code, status.reason) == (3, "OOMKilled")
    other = node.container(sandbox)
    node.check()
    node.layout.save_container_live(other, replace(node.live(other), phase=FAILED, exit_code=128))
    node.check()
    node.remove_container(sandbox, other)
    node.check()
    node.layout.save_sandbox_live(sandbox, SandboxLive(phase=STOPPED))
    node.check()
    node.remove(sandbox)
    node.check()
    assert node.followed.sandboxes() == [] == node.followed.containers()


def test_processes_that_end_are_seen(node: Node) -> None:
    """With nothing written about it: the container's first, its monitor's after it."""
    sandbox = node.sandbox(infra=True)
    container = node.container(sandbox)
    live = replace(node.live(container), phase=RUNNING)
    node.layout.save_container_live(container, live)
    node.check()
    node.end(live.pid)
    node.check()
    assert node.followed.containers()[0].exit_code is None
    node.end(live.monitor_pid)
    node.check()
    assert node.followed.containers()[0].reason == "Unknown"
    infra = node.layout.load_sandbox_live(sandbox)
    assert infra is not None
    node.end(infra.infra_pid)
    node.check()
    assert node.followed.sandboxes()[0].reason == "InfraExited"


def test_after_a_reboot_statuses_are_kept_as_well(node: Node) -> None:
    sandbox = node.sandbox()
    container = node.container(sandbox)
    node.check()
    for path in (node.layout.bundle(container), node.layout.sandbox_run(sandbox)):
        subprocess.run(["rm", "-r", path], check=True)
    node.check()
    assert node.followed.containers()[0].reason == "Unknown"
    assert node.followed.containers()[0] is node.followed.containers()[0]


def test_random_changes(node: Node) -> None:
    rng = random.Random(4711)
    for _ in range(150):
        _change(node, rng)
        if rng.random() < 0.7:
            node.check()
    node.check()


def _change(node: Node, rng: random.Random) -> None:
    """Anything that can happen."""
    sandboxes = node.layout.sandbox_ids()
    pairs = [(pod, one) for pod in sandboxes for one in node.layout.container_ids(pod)]
    actions: list[Callable[[], object]] = [lambda: node.sandbox(infra=rng.random() < 0.5)]
    if sandboxes:
        some = rng.choice(sandboxes)
        actions += [lambda: node.container(some)] * 3
        actions += [lambda: node.remove(some)]
    if pairs:
        pod, one = rng.choice(pairs)
        live = node.live(one)
        actions += [
            lambda: node.ended(one, rng.randrange(256)),
            lambda: node.end(live.pid),
            lambda: node.end(live.monitor_pid),
            lambda: node.layout.save_container_live(one, replace(live, phase=RUNNING)),
            lambda: node.remove_container(pod, one),
        ]
    rng.choice(actions)()


def test_lost_events(node: Node) -> None:
    """More changes than the kernel's queue holds: everything is read again."""
    sandbox = node.sandbox()
    container = node.container(sandbox)
    node.check()
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for _ in range(most // 2 + 100):
        Path(node.layout.bundle(container), "x").touch()
        Path(node.layout.bundle(container), "x").unlink()
    node.ended(container)
    node.check()


def test_without_descriptors_nothing_is_kept(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    few = FollowedInventory(node.layout)
    sandbox = node.sandbox()
    containers = [node.container(sandbox) for _ in range(3)]
    assert few.containers() == node.plain.containers()
    node.end(node.live(containers[0]).pid)
    node.end(node.live(containers[0]).monitor_pid)
    assert few.containers() == node.plain.containers()
    few.close()


def test_descriptors_are_given_back(node: Node) -> None:
    node.check()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        sandbox = node.sandbox(infra=True)
        node.container(sandbox)
        node.check()
        node.remove(sandbox)
        node.check()
    assert len(os.listdir("/proc/self/fd")) == before


def _sandbox(sandbox_id: str, number: int) -> SandboxRecord:
    return SandboxRecord(
        id=sandbox_id,
        full_name=f"k8s_{number}",
        config=SandboxConfig(name=f"pod{number}", uid=str(number), namespace="test"),
        created_at=number,
        handler="runc",
        hostname="pod",
        cgroup="/x",
        own_cgroup=True,
        log_directory="/x",
    )


def _container(sandbox_id: str, container_id: str, number: int) -> ContainerRecord:
    return ContainerRecord(
        id=container_id,
        sandbox_id=sandbox_id,
        full_name=f"k8s_{number}",
        config=ContainerConfig(name=f"c{number}", image=ImageSpec(image="busybox")),
        created_at=number,
        handler="runc",
        log_path="/x",
        cgroup="/x",
    )
