"""The RPCs about the daemon itself: version, conditions, handlers, configuration."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Final

import msgspec

from trilby.cri.errors import Unimplemented
from trilby.cri.proto import container_pb2
from trilby.cri.proto import runtime_pb2 as pb
from trilby.errors import TrilbyError
from trilby.pods.config import CgroupManager
from trilby.pods.engine import Engine

RUNTIME_NAME: Final = "trilby"
API_VERSION: Final = "v1"
#: What the kubelet calls its own version of the runtime API; a constant since ever.
KUBELET_API_VERSION: Final = "0.1.0"


class StatusRpcs:
    """``details`` is what a verbose status shows, apart from the conditions."""

    def __init__(self, engine: Engine, details: Callable[[], dict[str, object]]) -> None:
        self._engine = engine
        self._details = details

    async def version(self, request: pb.VersionRequest) -> pb.VersionResponse:
        return pb.VersionResponse(
            version=KUBELET_API_VERSION,
            runtime_name=RUNTIME_NAME,
            runtime_version=version("trilby"),
            runtime_api_version=API_VERSION,
        )

    async def status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        """The runtime is ready when this answers; the network when a pod could be attached."""
        handlers = await self._engine.handler_features()
        response = pb.StatusResponse(
            status=pb.RuntimeStatus(
                conditions=[
                    pb.RuntimeCondition(type="RuntimeReady", status=True),
                    await self._network(),
                ]
            ),
            features=pb.RuntimeFeatures(
                supplemental_groups_policy=True, user_namespaces_host_network=False
            ),
        )
        for name in handlers:
            features = handlers[name]
            response.runtime_handlers.append(
                pb.RuntimeHandler(
                    name=name,
                    features=pb.RuntimeHandlerFeatures(
                        recursive_read_only_mounts=features.recursive_read_only,
                        user_namespaces=features.user_namespaces,
                    ),
                )
            )
        if request.verbose:
            for key, value in self._details().items():
                response.info[key] = msgspec.json.encode(value).decode()
        return response

    async def _network(self) -> pb.RuntimeCondition:
        try:
            await self._engine.check_network()
        except TrilbyError as error:
            return pb.RuntimeCondition(
                type="NetworkReady",
                status=False,
                reason="NetworkPluginNotReady",
                message=str(error),
            )
        return pb.RuntimeCondition(type="NetworkReady", status=True)

    async def runtime_config(self, request: pb.RuntimeConfigRequest) -> pb.RuntimeConfigResponse:
        """The kubelet takes its cgroup driver from here."""
        systemd = self._engine.config.cgroup_manager is CgroupManager.SYSTEMD
        return pb.RuntimeConfigResponse(
            linux=pb.LinuxRuntimeConfiguration(cgroup_driver=pb.SYSTEMD if systemd else pb.CGROUPFS)
        )

    async def update_runtime_config(
        self, request: pb.UpdateRuntimeConfigRequest
    ) -> pb.UpdateRuntimeConfigResponse:
        """The pods' address range is the CNI configuration's business; nothing to do."""
        return pb.UpdateRuntimeConfigResponse()

    async def checkpoint_container(
        self, request: container_pb2.CheckpointContainerRequest
    ) -> container_pb2.CheckpointContainerResponse:
        raise Unimplemented("CheckpointContainer: checkpoints are not made by this version")
