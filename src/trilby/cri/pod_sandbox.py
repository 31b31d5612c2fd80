"""The RPCs of pod sandboxes."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

from trilby.cri import translate_common, translate_container, translate_sandbox
from trilby.cri.errors import InvalidRequest, NoSuchObject
from trilby.cri.filters import chunks, id_matches, labels_match
from trilby.cri.listed import Listed
from trilby.cri.proto import sandbox_pb2 as pb
from trilby.cri.turns import Turns
from trilby.errors import NotFound
from trilby.pods.engine import Engine
from trilby.pods.model_common import NamespaceMode
from trilby.pods.model_status import SandboxState, SandboxStatus


class PodSandboxRpcs:
    """``log_dir`` is the parent of log directories for sandboxes that name none; it may change."""

    def __init__(self, engine: Engine, log_dir: str = "") -> None:
        self._engine = engine
        self.log_dir = log_dir
        self._messages = Listed(translate_sandbox.listed)
        self._turns = Turns()

    async def run_pod_sandbox(self, request: pb.RunPodSandboxRequest) -> pb.RunPodSandboxResponse:
        """The sandbox is ready when this answers; the same request again has the same answer."""
        config = translate_sandbox.sandbox_config(
            request.config, request.runtime_handler, self.log_dir
        )
        # Those of the host's network do not wait: they may be what brings the others' network.
        if config.security.namespaces.network is NamespaceMode.NODE:
            sandbox_id = await self._engine.run_sandbox(config)
        else:
            async with self._turns.turn():
                sandbox_id = await self._engine.run_sandbox(config)
        return pb.RunPodSandboxResponse(pod_sandbox_id=sandbox_id)

    async def stop_pod_sandbox(
        self, request: pb.StopPodSandboxRequest
    ) -> pb.StopPodSandboxResponse:
        """Containers that still run are killed, the network is taken down. Idempotent."""
        try:
            await self._engine.stop_sandbox(_given(request.pod_sandbox_id))
        except NotFound:
            pass  # it is as stopped as can be
        return pb.StopPodSandboxResponse()

    async def remove_pod_sandbox(
        self, request: pb.RemovePodSandboxRequest
    ) -> pb.RemovePodSandboxResponse:
        """With all its containers, by force. Idempotent."""
        await self._engine.remove_sandbox(_given(request.pod_sandbox_id))
        return pb.RemovePodSandboxResponse()

    async def pod_sandbox_status(
        self, request: pb.PodSandboxStatusRequest
    ) -> pb.PodSandboxStatusResponse:
        """With the statuses of its containers, as of ``timestamp``."""
        timestamp = time.time_ns()
        status = self._engine.sandbox_status(_given(request.pod_sandbox_id))
        try:
            containers = self._engine.list_containers(status.id)
        except NotFound:
            raise NoSuchObject(f"sandbox {status.id} does not exist") from None
        response = pb.PodSandboxStatusResponse(
            status=translate_sandbox.status_message(status),
            containers_statuses=map(translate_container.status_message, containers),
            timestamp=timestamp,
        )
        if request.verbose:
            response.info["info"] = json.dumps(self._engine.sandbox_details(status.id))
        return response

    async def list_pod_sandbox(
        self, request: pb.ListPodSandboxRequest
    ) -> pb.ListPodSandboxResponse:
        return pb.ListPodSandboxResponse(items=self._listed(request.filter))

    async def stream_pod_sandboxes(
        self, request: pb.StreamPodSandboxesRequest
    ) -> AsyncIterator[pb.StreamPodSandboxesResponse]:
        for chunk in chunks(self._listed(request.filter)):
            yield pb.StreamPodSandboxesResponse(pod_sandboxes=chunk)

    def _listed(self, wanted: pb.PodSandboxFilter) -> list[pb.PodSandbox]:
        found = self._messages.all(self._engine.list_sandboxes())
        if not wanted.ByteSize():
            return [message for _, message in found]
        return [message for status, message in found if _matches(status, wanted)]

    async def update_pod_sandbox_resources(
        self, request: pb.UpdatePodSandboxResourcesRequest
    ) -> pb.UpdatePodSandboxResourcesResponse:
        """What the pod's cgroup is limited to has been set by the kubelet; it is recorded."""
        await self._engine.update_sandbox_resources(
            _given(request.pod_sandbox_id),
            overhead=translate_common.resources(request.overhead)
            if request.HasField("overhead")
            else None,
            resources=translate_common.resources(request.resources)
            if request.HasField("resources")
            else None,
        )
        return pb.UpdatePodSandboxResourcesResponse()


def _given(sandbox_id: str) -> str:
    if not sandbox_id:
        raise InvalidRequest("pod_sandbox_id has to be given")
    return sandbox_id


def _matches(status: SandboxStatus, wanted: pb.PodSandboxFilter) -> bool:
    if wanted.HasField("state"):
        ready = wanted.state.state == pb.SANDBOX_READY
        if ready is not (status.state is SandboxState.READY):
            return False
    return id_matches(status.id, wanted.id) and labels_match(status.labels, wanted.label_selector)
