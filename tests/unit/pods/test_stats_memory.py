"""What statistics remember of pods that are gone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support.pods import DirectoryRootfs

from trilby.pods.config import EngineConfig
from trilby.pods.engine_parts import Parts
from trilby.pods.model_container import ContainerConfig, ImageSpec
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.state import (
    READY,
    RUNNING,
    ContainerLive,
    ContainerRecord,
    Layout,
    SandboxLive,
    SandboxRecord,
    new_id,
)
from trilby.pods.state_process import start_time
from trilby.pods.stats import Sampler


def test_removed_pods_are_forgotten_soon(tmp_path: Path) -> None:
    """Jobs that take seconds: their records do not pile up until the time is over."""
    config = EngineConfig(root=str(tmp_path / "root"), run_root=str(tmp_path / "run"))
    parts = Parts(config, DirectoryRootfs(tmp_path / "rootfs"))
    parts.layout.make()
    sampler = Sampler(parts)
    stays = _running_pod(parts.layout)
    for _ in range(300):
        removed = _running_pod(parts.layout)
        assert {one.id for one in sampler.sandboxes(lambda _: True)} == {stays, removed}
        shutil.rmtree(parts.layout.sandbox_dir(removed))
    kept = (sampler._sandbox_records, sampler._container_records, sampler._rates._last)
    assert all(len(one) <= 150 for one in kept)
    assert {one.id for one in sampler.sandboxes(lambda _: True)} == {stays}


def _running_pod(layout: Layout) -> str:
    """State files of a sandbox and of a container that this process pretends to be."""
    sandbox_id, container_id = new_id(), new_id()
    for path in (
        layout.container_dir(sandbox_id, container_id),
        layout.sandbox_run(sandbox_id),
        layout.bundle(container_id),
    ):
        os.makedirs(path)
    layout.save_sandbox(
        SandboxRecord(
            id=sandbox_id,
            full_name=sandbox_id,
            config=SandboxConfig(name="pod", uid="1", namespace="test"),
            created_at=1,
            handler="runc",
            hostname="pod",
            cgroup="/",
            own_cgroup=True,
            log_directory="/x",
        )
    )
    layout.save_sandbox_live(sandbox_id, SandboxLive(phase=READY))
    layout.save_container(
        ContainerRecord(
            id=container_id,
            sandbox_id=sandbox_id,
            full_name=container_id,
            config=ContainerConfig(name="main", image=ImageSpec(image="busybox")),
            created_at=1,
            handler="runc",
            log_path="/x",
            cgroup="/",
        )
    )
    pid = os.getpid()
    live = ContainerLive(phase=RUNNING, pid=pid, pid_start=start_time(pid))
    layout.save_container_live(container_id, live)
    return sandbox_id
