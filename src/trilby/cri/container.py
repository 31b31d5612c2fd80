"""The RPCs of containers: making, starting, ending, listing, changing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec

from trilby.cri import translate_common, translate_container
from trilby.cri.errors import InvalidRequest
from trilby.cri.filters import chunks, id_matches, labels_match
from trilby.cri.listed import Listed
from trilby.cri.proto import container_pb2 as pb
from trilby.cri.proto import runtime_pb2
from trilby.errors import NotFound
from trilby.image.service import Images
from trilby.pods import model_container as model
from trilby.pods.engine import Engine
from trilby.pods.model_status import ContainerStatus


class ContainerRpcs:
    """``images`` says which image a name means."""

    def __init__(self, engine: Engine, images: Images) -> None:
        self._engine = engine
        self._images = images
        self._messages = Listed(translate_container.listed)

    async def create_container(
        self, request: runtime_pb2.CreateContainerRequest
    ) -> pb.CreateContainerResponse:
        """The same request again answers the same id."""
        if not request.pod_sandbox_id:
            raise InvalidRequest("pod_sandbox_id has to be given")
        if not request.HasField("config"):
            raise InvalidRequest("config has to be given")
        if not request.config.image.image:
            raise InvalidRequest("config.image.image has to be given")
        config = await asyncio.to_thread(self._resolved, request.config)
        container_id = await self._engine.create_container(request.pod_sandbox_id, config)
        return pb.CreateContainerResponse(container_id=container_id)

    def _resolved(self, config: pb.ContainerConfig) -> model.ContainerConfig:
        """The engine's form, with the ids of all images: names may mean others tomorrow."""
        image = self._images.find(config.image.image)
        translated = translate_container.container_config(config, image.id)
        mounts = tuple(self._with_id(mount) for mount in translated.mounts)
        return msgspec.structs.replace(translated, mounts=mounts)

    def _with_id(self, mount: model.Mount) -> model.Mount:
        if mount.image is None:
            return mount
        try:
            found = self._images.find(mount.image.image)
        except NotFound as error:
            raise InvalidRequest(f"ImageVolumeMountFailed: {error}") from error
        image = msgspec.structs.replace(mount.image, ref=found.id)
        return msgspec.structs.replace(mount, image=image)

    async def start_container(self, request: pb.StartContainerRequest) -> pb.StartContainerResponse:
        """A container that cannot be started stays, EXITED, with the reason StartError."""
        await self._engine.start_container(_given(request.container_id))
        return pb.StartContainerResponse()

    async def stop_container(self, request: pb.StopContainerRequest) -> pb.StopContainerResponse:
        """Answers when it has ended. A second call with less time left shortens the wait."""
        try:
            await self._engine.stop_container(
                _given(request.container_id), float(max(request.timeout, 0))
            )
        except NotFound:
            pass
        return pb.StopContainerResponse()

    async def remove_container(
        self, request: pb.RemoveContainerRequest
    ) -> pb.RemoveContainerResponse:
        """By force. Its log stays, that is the kubelet's. Idempotent."""
        await self._engine.remove_container(_given(request.container_id))
        return pb.RemoveContainerResponse()

    async def list_containers(self, request: pb.ListContainersRequest) -> pb.ListContainersResponse:
        return pb.ListContainersResponse(containers=self._listed(request.filter))

    async def stream_containers(
        self, request: pb.StreamContainersRequest
    ) -> AsyncIterator[pb.StreamContainersResponse]:
        for chunk in chunks(self._listed(request.filter)):
            yield pb.StreamContainersResponse(containers=chunk)

    def _listed(self, wanted: pb.ContainerFilter) -> list[pb.Container]:
        found = self._messages.all(self._engine.list_containers())
        if not wanted.ByteSize():
            return [message for _, message in found]
        return [message for status, message in found if _matches(status, wanted)]

    async def container_status(
        self, request: pb.ContainerStatusRequest
    ) -> pb.ContainerStatusResponse:
        status = self._engine.container_status(_given(request.container_id))
        response = pb.ContainerStatusResponse(status=translate_container.status_message(status))
        if request.verbose:
            response.info["info"] = json.dumps(self._engine.container_details(status.id))
        return response

    async def update_container_resources(
        self, request: pb.UpdateContainerResourcesRequest
    ) -> pb.UpdateContainerResourcesResponse:
        """All of it or nothing; what is not given keeps its value."""
        if not request.HasField("linux"):
            return pb.UpdateContainerResourcesResponse()
        await self._engine.update_resources(
            _given(request.container_id), translate_common.resources(request.linux)
        )
        return pb.UpdateContainerResourcesResponse()

    async def reopen_container_log(
        self, request: pb.ReopenContainerLogRequest
    ) -> pb.ReopenContainerLogResponse:
        """Answers when the new file is there."""
        await self._engine.reopen_log(_given(request.container_id))
        return pb.ReopenContainerLogResponse()


def _given(container_id: str) -> str:
    if not container_id:
        raise InvalidRequest("container_id has to be given")
    return container_id


def _matches(status: ContainerStatus, wanted: pb.ContainerFilter) -> bool:
    if wanted.HasField("state"):
        if translate_container.STATES[status.state] != wanted.state.state:
            return False
    return (
        id_matches(status.id, wanted.id)
        and id_matches(status.sandbox_id, wanted.pod_sandbox_id)
        and labels_match(status.labels, wanted.label_selector)
    )
