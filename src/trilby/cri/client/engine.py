"""A running daemon with the methods of ``trilby.pods.engine.Engine``, over the CRI.

Works with any runtime that serves the CRI on this host: logs are read from their files, and
streams are connected to where the daemon says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from trilby.cri.client import listing, requests, statistics, statuses
from trilby.cri.client.connection import QUICK, Connection
from trilby.cri.client.errors import DaemonUnavailable, DeadlineOver, NotByCri
from trilby.cri.client.exits import Exits
from trilby.cri.errors import CriError, NoSuchObject
from trilby.cri.proto import container_pb2 as pb
from trilby.cri.proto import runtime_pb2, sandbox_pb2, stats_pb2
from trilby.cri.status import RUNTIME_NAME
from trilby.pods.errors import (
    ContainerNotFound,
    ExecTimeout,
    PodsError,
    SandboxNotFound,
    StartFailed,
)
from trilby.pods.exec import ExecResult, ExecStreams
from trilby.pods.logs import Entry
from trilby.pods.logs_read import LogOptions, follow_log, read_log
from trilby.pods.model_container import ContainerConfig
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.model_status import (
    ContainerState,
    ContainerStatus,
    SandboxStats,
    SandboxStatus,
)

if TYPE_CHECKING:
    from trilby.cri.client.attach import RemoteAttach
    from trilby.cri.client.exec import RemoteSession
    from trilby.cri.client.streaming import Streaming

#: How long a daemon may be away while a container is waited for, and between two tries.
PATIENCE = 60.0
RETRY = 0.5
#: What a call may take beyond the time that the daemon itself needs, in seconds.
SPARE = 10.0


class RemoteEngine:
    """One connection to the daemon at ``path``. Use with ``async with``.

    Methods that say nothing of themselves do what the engine's of that name do.
    """

    def __init__(self, path: str) -> None:
        self.connection = Connection(path)
        self._exits = Exits(self.connection)
        self._pods: dict[str, sandbox_pb2.PodSandboxConfig] = {}
        self._streams: Streaming | None = None

    async def __aenter__(self) -> RemoteEngine:
        """Raises NoDaemon."""
        await self.connection.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.close()
        if self._streams is not None:
            await self._streams.close()
        await self.connection.__aexit__(kind, error, trace)

    async def snapshot(self) -> listing.Snapshot:
        """All sandboxes and containers with their statuses."""
        return await listing.take(self.connection)

    # Sandboxes

    async def run_sandbox(self, config: SandboxConfig) -> str:
        request = requests.run_request(config)
        answer = await self.connection.call(
            request, sandbox_pb2.RunPodSandboxResponse, timeout=None
        )
        self._pods[answer.pod_sandbox_id] = request.config
        return answer.pod_sandbox_id

    async def stop_sandbox(self, sandbox_id: str, *, timeout: float = 0) -> None:
        """The CRI gives containers no grace here; with ``timeout`` they are stopped before."""
        if timeout > 0:
            listed = await self.connection.call(
                pb.ListContainersRequest(
                    filter=pb.ContainerFilter(
                        pod_sandbox_id=sandbox_id,
                        state=pb.ContainerStateValue(state=pb.CONTAINER_RUNNING),
                    )
                ),
                pb.ListContainersResponse,
            )
            await asyncio.gather(
                *(self.stop_container(one.id, timeout) for one in listed.containers)
            )
        with _missing(SandboxNotFound):
            await self.connection.call(
                sandbox_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox_id),
                sandbox_pb2.StopPodSandboxResponse,
                timeout=None,
            )

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.connection.call(
            sandbox_pb2.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id),
            sandbox_pb2.RemovePodSandboxResponse,
            timeout=None,
        )
        self._pods.pop(sandbox_id, None)

    async def read_sandbox(self, sandbox_id: str) -> SandboxStatus:
        with _missing(SandboxNotFound):
            answer = await self.connection.call(
                sandbox_pb2.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id),
                sandbox_pb2.PodSandboxStatusResponse,
            )
        return statuses.sandbox_status(answer.status)

    # Containers

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        pod = self._pods.get(sandbox_id, sandbox_pb2.PodSandboxConfig())
        if pod.log_directory and config.log_path:
            # Other runtimes leave that to their caller, as a kubelet does it.
            folder = os.path.dirname(f"{pod.log_directory}/{config.log_path}")
            os.makedirs(folder, 0o755, exist_ok=True)
        answer = await self.connection.call(
            requests.create_request(sandbox_id, config, pod),
            pb.CreateContainerResponse,
            timeout=None,
        )
        return answer.container_id

    async def start_container(self, container_id: str) -> None:
        try:
            with _missing(ContainerNotFound):
                await self.connection.call(
                    pb.StartContainerRequest(container_id=container_id),
                    pb.StartContainerResponse,
                    timeout=None,
                )
        except CriError as error:
            # Whether it is one that cannot be started is told by its state alone.
            if (await self.read_container(container_id)).state is ContainerState.EXITED:
                raise StartFailed(error.message, hint=error.hint) from error
            raise

    async def stop_container(self, container_id: str, timeout: float = 10) -> None:
        with contextlib.suppress(NoSuchObject):
            await self.connection.call(
                pb.StopContainerRequest(container_id=container_id, timeout=math.ceil(timeout)),
                pb.StopContainerResponse,
                timeout=None,
            )

    async def remove_container(self, container_id: str) -> None:
        await self.connection.call(
            pb.RemoveContainerRequest(container_id=container_id), pb.RemoveContainerResponse
        )

    async def read_container(self, container_id: str) -> ContainerStatus:
        """Without the id of its sandbox, which the CRI does not tell here."""
        return statuses.container_status((await self._status(container_id)).status, "")

    async def wait_container(self, container_id: str) -> int:
        """A daemon that is started again meanwhile does not matter; one that stays away does."""
        with self._exits.watch(container_id) as news:
            away = 0.0
            while True:
                news.clear()
                try:
                    status = await self.read_container(container_id)
                    away = 0.0
                except DaemonUnavailable:
                    if away >= PATIENCE:
                        raise
                    away += RETRY
                    await asyncio.sleep(RETRY)
                    continue
                if status.state is ContainerState.EXITED:
                    return status.exit_code or 0
                await self._exits.wait(news)

    async def _status(
        self, container_id: str, *, verbose: bool = False
    ) -> pb.ContainerStatusResponse:
        with _missing(ContainerNotFound):
            return await self.connection.call(
                pb.ContainerStatusRequest(container_id=container_id, verbose=verbose),
                pb.ContainerStatusResponse,
            )

    # Inside a container

    async def exec_sync(
        self, container_id: str, argv: Sequence[str], *, timeout: float | None = None
    ) -> ExecResult:
        """``timeout`` counts in whole seconds there."""
        seconds = math.ceil(timeout or 0)
        request = pb.ExecSyncRequest(container_id=container_id, cmd=argv, timeout=seconds)
        try:
            with _missing(ContainerNotFound):
                answer = await self.connection.call(
                    request, pb.ExecSyncResponse, timeout=seconds + SPARE if seconds else None
                )
        except DeadlineOver as error:
            raise ExecTimeout(error.message, hint="raise the timeout") from error
        return ExecResult(answer.exit_code, answer.stdout, answer.stderr)

    async def exec(
        self,
        container_id: str,
        argv: Sequence[str],
        *,
        streams: ExecStreams,
        tty: bool = False,
        user: str = "",
        working_dir: str = "",
        env: Sequence[str] = (),
    ) -> RemoteSession:
        if user or working_dir or env:
            raise NotByCri(
                "a user, a working directory or variables cannot be given by the CRI",
                hint="run the command by env, su or sh -c, or without --host",
            )
        from trilby.cri.client.exec import open_exec

        request = pb.ExecRequest(
            container_id=container_id,
            cmd=argv,
            tty=tty,
            stdin=streams.stdin is not None,
            stdout=True,
            # With a terminal everything comes out of it.
            stderr=not tty,
        )
        with _missing(ContainerNotFound):
            url = (await self.connection.call(request, pb.ExecResponse)).url
        return await open_exec(await self._streaming(), url, streams, tty=tty)

    async def attach(self, container_id: str) -> RemoteAttach:
        from trilby.cri.client.attach import open_attach

        info = json.loads((await self._status(container_id, verbose=True)).info.get("info", "{}"))
        tty, stdin = statuses.tty_and_stdin(info if isinstance(info, dict) else {})
        request = pb.AttachRequest(
            container_id=container_id, stdin=stdin, tty=tty, stdout=True, stderr=not tty
        )
        with _missing(ContainerNotFound):
            url = (await self.connection.call(request, pb.AttachResponse)).url
        return await open_attach(await self._streaming(), url, tty=tty, stdin=stdin)

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[Entry]:
        """From the file: the daemon runs on this host."""
        path = (await self.read_container(container_id)).log_path
        if not options.follow:
            for entry in read_log(path, options):
                yield entry
            return
        wake = asyncio.Event()
        task = asyncio.create_task(self._set_when_ended(container_id, wake))
        try:
            async for entry in follow_log(path, options, task.done, wake):
                yield entry
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _set_when_ended(self, container_id: str, wake: asyncio.Event) -> None:
        try:
            await self.wait_container(container_id)
        finally:
            # The task has to be done before whoever waits looks at it.
            asyncio.get_running_loop().call_soon(wake.set)

    async def read_stats(self, sandbox_id: str) -> SandboxStats:
        with _missing(SandboxNotFound):
            answer = await self.connection.call(
                stats_pb2.PodSandboxStatsRequest(pod_sandbox_id=sandbox_id),
                stats_pb2.PodSandboxStatsResponse,
            )
        return statistics.sandbox_stats(answer.stats)

    async def version(self) -> runtime_pb2.VersionResponse:
        """Who answers."""
        return await self.connection.call(
            runtime_pb2.VersionRequest(), runtime_pb2.VersionResponse, timeout=QUICK
        )

    async def _streaming(self) -> Streaming:
        if self._streams is None:
            from trilby.cri.client.streaming import Streaming

            runtime = (await self.version()).runtime_name
            self._streams = Streaming(spdy=runtime != RUNTIME_NAME)
        return self._streams


@contextlib.contextmanager
def _missing(kind: type[PodsError]) -> Iterator[None]:
    """What is not there is told as the engine would."""
    try:
        yield
    except NoSuchObject as error:
        raise kind(error.message, hint=error.hint) from error
