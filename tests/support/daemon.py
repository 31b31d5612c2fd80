"""A daemon of a test's own, as a process: it can be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message
from tests.support.pods import Place, make_config, store_rootfs

from trilby.cri.client.connection import Connection
from trilby.cri.proto import common_pb2, container_pb2, runtime_pb2, sandbox_pb2
from trilby.system.events import COMPLETE, IN_CREATE, Inotify
from trilby.system.mount_table import unmount_tree

M = TypeVar("M", bound=Message)

START = "from trilby.cli.daemon import main; main()"
IMAGE = "docker.io/library/busybox:latest"


class DaemonProcess:
    """``trilbyd`` with the roots, bridge, subnet and cgroup parent of a place."""

    def __init__(self, place: Place, further: str = "") -> None:
        self.place = place
        self.socket = str(place.root / "cri.sock")
        self.config = place.root / "trilby.conf"
        self.log = place.root / "trilbyd.log"
        (place.root / "conf.d").mkdir()
        self.config.write_text(_config(place) + further)
        self.process: subprocess.Popen[bytes] | None = None
        self._done = threading.Event()
        self._reaper: threading.Thread | None = None
        self._started = False

    @property
    def argv(self) -> list[str]:
        root = self.place.root
        return [
            *(sys.executable, "-c", START, "--config", str(self.config)),
            *("--config-dir", str(root / "conf.d"), "--listen", self.socket),
            *("--root", str(root / "s"), "--runroot", str(root / "rs"), "--log-level", "debug"),
        ]

    async def start(self) -> None:
        """Returns when the socket is there; fails with the log when the daemon ends before."""
        if self._started:
            self._adopt()
        self._started = True
        self.process = self._spawn()
        changes = Inotify([self.place.root], COMPLETE | IN_CREATE)
        try:
            async with asyncio.timeout(20):
                while not os.path.exists(self.socket):
                    assert self.process.poll() is None, self.log.read_text()
                    await _next(changes)
        finally:
            changes.close()

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def _spawn(self) -> subprocess.Popen[bytes]:
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment
            )

    def _adopt(self) -> None:
        """What a daemon that ended had started is ours now, and somebody has to reap it.

        Up to end_reaper(): what later tests start is their own.
        """
        if self._reaper is None:
            self._reaper = threading.Thread(target=self._reap, daemon=True)
            self._reaper.start()

    def _reap(self) -> None:
        """A PID namespace waits for every zombie, so each goes as soon as it ended."""
        while not self._done.wait(0.05):
            reap_orphans()

    def end_reaper(self) -> None:
        self._done.set()
        if self._reaper is not None:
            self._reaper.join()
            reap_orphans()

    def kill(self) -> None:
        """As a crash: SIGKILL, and its socket stays."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._adopt()
        Path(self.socket).unlink(missing_ok=True)  # so that start() sees the new one

    async def stop(self) -> int:
        """SIGTERM; its exit status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(process.wait, 20)

    async def call(self, request: Message, answer: type[M], timeout: float = 60) -> M:
        """One RPC. Raises the CriError that its status stands for."""
        async with Connection(self.socket) as connection:
            return await connection.call(request, answer, timeout)

    # What most tests do

    async def run_pod(self, name: str = "pod", **changes: object) -> str:
        request = sandbox_pb2.RunPodSandboxRequest(config=pod_config(name, **changes))
        answer = await self.call(request, sandbox_pb2.RunPodSandboxResponse)
        return answer.pod_sandbox_id

    async def create(
        self, sandbox: str, name: str = "main", *command: str, **changes: object
    ) -> str:
        request = runtime_pb2.CreateContainerRequest(
            pod_sandbox_id=sandbox,
            config=container_config(name, *command, **changes),
            sandbox_config=pod_config(),
        )
        answer = await self.call(request, container_pb2.CreateContainerResponse)
        return answer.container_id

    async def start_container(self, container: str) -> None:
        request = container_pb2.StartContainerRequest(container_id=container)
        await self.call(request, container_pb2.StartContainerResponse)

    async def run(self, sandbox: str, name: str = "main", *command: str, **changes: object) -> str:
        container = await self.create(sandbox, name, *command, **changes)
        await self.start_container(container)
        return container

    async def status(self, container: str) -> container_pb2.ContainerStatus:
        request = container_pb2.ContainerStatusRequest(container_id=container)
        return (await self.call(request, container_pb2.ContainerStatusResponse)).status

    async def exec(self, container: str, *command: str, timeout: int = 0) -> tuple[int, bytes]:
        """Exit code, and what it wrote to stdout."""
        request = container_pb2.ExecSyncRequest(
            container_id=container, cmd=command, timeout=timeout
        )
        answer = await self.call(request, container_pb2.ExecSyncResponse)
        return answer.exit_code, answer.stdout

    async def remove_pod(self, sandbox: str) -> None:
        await self.call(
            sandbox_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox),
            sandbox_pb2.StopPodSandboxResponse,
        )
        await self.call(
            sandbox_pb2.RemovePodSandboxRequest(pod_sandbox_id=sandbox),
            sandbox_pb2.RemovePodSandboxResponse,
        )

    async def sandboxes(self) -> list[sandbox_pb2.PodSandbox]:
        request = sandbox_pb2.ListPodSandboxRequest()
        return list((await self.call(request, sandbox_pb2.ListPodSandboxResponse)).items)

    async def containers(self) -> list[container_pb2.Container]:
        request = container_pb2.ListContainersRequest()
        return list((await self.call(request, container_pb2.ListContainersResponse)).containers)


def pod_config(name: str = "pod", **changes: object) -> sandbox_pb2.PodSandboxConfig:
    """``changes`` are fields of the message."""
    metadata = sandbox_pb2.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="test")
    return sandbox_pb2.PodSandboxConfig(metadata=metadata, **changes)  # type: ignore[arg-type]


def container_config(
    name: str = "main", *command: str, **changes: object
) -> container_pb2.ContainerConfig:
    """Without a command it sleeps. ``changes`` are fields of the message."""
    return container_pb2.ContainerConfig(
        metadata=container_pb2.ContainerMetadata(name=name),
        image=common_pb2.ImageSpec(image=IMAGE),
        command=command or ("sleep", "1000"),
        log_path=f"{name}.log",
        **changes,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def own_daemon(place: Place, further: str = "") -> AsyncIterator[DaemonProcess]:
    """A running daemon whose store has busybox; at the end all its pods are removed."""
    store_rootfs(place).store.close()
    daemon = DaemonProcess(place, further)
    await daemon.start()
    try:
        yield daemon
    finally:
        try:
            if daemon.process is None or daemon.process.poll() is not None:
                await daemon.start()
            for sandbox in await daemon.sandboxes():
                await daemon.remove_pod(sandbox.id)
        finally:
            await daemon.stop()
            daemon.end_reaper()
            # The store's own mount of its directory stays after a kill, as podman's does.
            unmount_tree(str(place.root / "s" / "overlay"))


def _config(place: Place) -> str:
    """What make_config() says, as a file."""
    engine = make_config(place)
    handler = engine.runtimes[engine.default_runtime or "runc"]
    return f"""\
[trilby]
log_dir = "{place.root}/logs"
[trilby.runtime]
default_runtime = "{handler.name}"
cgroup_manager = "{engine.cgroup_manager.value}"
cgroup_parent = "{engine.cgroup_parent}"
[trilby.network]
network_dir = "{place.root}/net.d"
cni_cache_dir = "{engine.cni_cache_dir}"
bridge_name = "{engine.bridge_name}"
bridge_subnet = "{engine.bridge_subnet}"
bridge_subnet_v6 = "{engine.bridge_subnet_v6}"
[trilby.nri]
nri_listen = "{place.root}/nri.sock"
nri_plugin_dir = "{place.root}/nri.d"
nri_plugin_config_dir = "{place.root}/nri-conf.d"
"""


def reap_orphans() -> None:
    """Take the statuses of what a daemon that ended had started, and is ours now.

    An engine that an earlier test ran in this process has made it a subreaper.
    """
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for pid in map(int, (task / "children").read_text().split()):
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if state == "Z" and not name.startswith("python"):
                    os.waitpid(pid, os.WNOHANG)


async def _next(changes: Inotify) -> None:
    async for _ in changes:
        return
