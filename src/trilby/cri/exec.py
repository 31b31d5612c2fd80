"""The RPCs that reach into a container: ExecSync, and the addresses of streams."""

from __future__ import annotations

from typing import Protocol

from trilby.cri.errors import InvalidRequest
from trilby.cri.proto import container_pb2 as pb
from trilby.cri.proto import sandbox_pb2
from trilby.pods.engine import Engine
from trilby.pods.errors import SandboxNotReady, WrongContainerState
from trilby.pods.model_status import ContainerState, SandboxState


class Streams(Protocol):
    """The streaming server, as far as these RPCs need it."""

    def exec_url(
        self,
        container_id: str,
        cmd: list[str],
        *,
        tty: bool,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> str: ...

    def attach_url(
        self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str: ...

    def port_forward_url(self, sandbox_id: str, ports: list[int]) -> str: ...


class ExecRpcs:
    """Streams are checked here, so that who asks for an address learns at once what is wrong."""

    def __init__(self, engine: Engine, streams: Streams) -> None:
        self._engine = engine
        self._streams = streams

    async def exec_sync(self, request: pb.ExecSyncRequest) -> pb.ExecSyncResponse:
        """At most 16 MiB of each stream; a command that takes too long is DEADLINE_EXCEEDED."""
        if not request.cmd:
            raise InvalidRequest("cmd has to be given")
        container_id = self._running(request.container_id)
        timeout = float(request.timeout) if request.timeout > 0 else None
        result = await self._engine.exec_sync(container_id, request.cmd, timeout=timeout)
        return pb.ExecSyncResponse(
            stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code
        )

    async def exec(self, request: pb.ExecRequest) -> pb.ExecResponse:
        url = self._streams.exec_url(
            self._running(request.container_id),
            list(request.cmd),
            tty=request.tty,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
        )
        return pb.ExecResponse(url=url)

    async def attach(self, request: pb.AttachRequest) -> pb.AttachResponse:
        url = self._streams.attach_url(
            self._running(request.container_id),
            tty=request.tty,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
        )
        return pb.AttachResponse(url=url)

    async def port_forward(
        self, request: sandbox_pb2.PortForwardRequest
    ) -> sandbox_pb2.PortForwardResponse:
        if not request.pod_sandbox_id:
            raise InvalidRequest("pod_sandbox_id has to be given")
        status = self._engine.sandbox_status(request.pod_sandbox_id)
        if status.state is not SandboxState.READY:
            raise SandboxNotReady(f"forwarding ports: sandbox {status.id[:12]} is not ready")
        url = self._streams.port_forward_url(status.id, list(request.port))
        return sandbox_pb2.PortForwardResponse(url=url)

    def _running(self, container_id: str) -> str:
        """The whole id of a container that runs."""
        if not container_id:
            raise InvalidRequest("container_id has to be given")
        status = self._engine.container_status(container_id)
        if status.state is not ContainerState.RUNNING:
            raise WrongContainerState(
                f"container {status.name} ({status.id[:12]}) is {status.state.lower()}, not running"
            )
        return status.id
