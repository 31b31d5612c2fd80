"""The RPCs of images."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncIterator, Mapping

from trilby.cri import image_usage
from trilby.cri.errors import InvalidRequest, PullFailed
from trilby.cri.filters import chunks
from trilby.cri.image_users import ImageUsers
from trilby.cri.pinned import Pinned
from trilby.cri.proto import common_pb2
from trilby.cri.proto import image_pb2 as pb
from trilby.cri.pulls import Pulls
from trilby.errors import NotFound, TrilbyError
from trilby.image.context import ImageContext
from trilby.image.errors import ImageInUse
from trilby.image.service import Images, ImageSummary
from trilby.image.service_list import repository
from trilby.pods.engine import Engine
from trilby.pods.errors import HandlerUnknown


class ImageRpcs:
    """Images of the store that podman and CRI-O share; theirs are listed as well."""

    def __init__(
        self, engine: Engine, images: Images, pulls: Pulls, pinned: Pinned | None = None
    ) -> None:
        self._engine = engine
        self._images = images
        self._pulls = pulls
        self._pinned = pinned or Pinned(())
        self._users = ImageUsers(images)
        self._usage = image_usage.ImageUsage(images.store)

    async def list_images(self, request: pb.ListImagesRequest) -> pb.ListImagesResponse:
        return pb.ListImagesResponse(images=await self._listed(request.filter))

    async def stream_images(
        self, request: pb.StreamImagesRequest
    ) -> AsyncIterator[pb.StreamImagesResponse]:
        for chunk in chunks(await self._listed(request.filter)):
            yield pb.StreamImagesResponse(images=chunk)

    async def _listed(self, wanted: pb.ImageFilter) -> list[pb.Image]:
        return await asyncio.to_thread(self._read, wanted.image.image)

    def _read(self, name: str) -> list[pb.Image]:
        if not name:
            return [self._message(summary) for summary in self._images.list()]
        try:
            return [self._message(self._images.summary(name))]
        except NotFound:
            return []

    def _message(self, summary: ImageSummary) -> pb.Image:
        message = pb.Image(
            id=summary.id,
            repo_tags=[name for name in summary.names if "@" not in name],
            repo_digests=registry_digests(summary),
            size=summary.size,
            spec=common_pb2.ImageSpec(image=summary.id),
            pinned=self._pinned.matches(summary.names),
        )
        uid, username = self._users.of(summary.id)
        if uid is not None:
            message.uid.value = uid
        message.username = username
        return message

    async def image_status(self, request: pb.ImageStatusRequest) -> pb.ImageStatusResponse:
        """A missing image is no error: the answer is empty."""
        name = _given(request.image)
        return await asyncio.to_thread(self._status, name, request.verbose)

    def _status(self, name: str, verbose: bool) -> pb.ImageStatusResponse:
        try:
            summary = self._images.summary(name)
            response = pb.ImageStatusResponse(image=self._message(summary))
            if verbose:
                response.info["info"] = _details(self._images.raw_config(summary.id))
        except NotFound:
            return pb.ImageStatusResponse()
        return response

    async def pull_image(self, request: pb.PullImageRequest) -> pb.PullImageResponse:
        """The answer is the image's id. However many ask for an image, it is fetched once."""
        name = _given(request.image)
        if request.image.runtime_handler:
            self._check_handler(request.image.runtime_handler)
        pod = request.sandbox_config.metadata
        try:
            context = with_auth(
                self._pulls.context(pod.namespace),
                request.auth if request.HasField("auth") else None,
            )
            with self._engine.tracing(pod.uid, "pull_image", name):
                return pb.PullImageResponse(image_ref=await self._pulls.pull(name, context))
        except TrilbyError as error:
            raise PullFailed(error) from error

    def _check_handler(self, name: str) -> None:
        """All handlers use the same store: any that exists will do."""
        if name not in self._engine.handlers():
            raise HandlerUnknown(f"pulling for runtime handler {name!r}: there is no such handler")

    async def remove_image(self, request: pb.RemoveImageRequest) -> pb.RemoveImageResponse:
        """With all its names, also when it is asked for by one of them. Idempotent."""
        name = _given(request.image)
        await asyncio.to_thread(self._remove, name)
        return pb.RemoveImageResponse()

    def _remove(self, name: str) -> None:
        try:
            image_id = self._images.find(name).id
            self._refuse_mounted(image_id)
            self._images.remove([image_id], force=True)
        except NotFound:
            return
        self._users.forget(image_id)

    def _refuse_mounted(self, image_id: str) -> None:
        """An image that is a volume of a container: the store knows nothing of that."""
        for container in self._engine.list_containers():
            for mount in container.mounts:
                if mount.image is not None and mount.image.ref == image_id:
                    raise ImageInUse(
                        f"removing image {image_id[:12]}: it is a volume of container "
                        f"{container.name} ({container.id[:12]})",
                        hint="remove this container first",
                    )

    async def image_fs_info(self, request: pb.ImageFsInfoRequest) -> pb.ImageFsInfoResponse:
        """What images and what containers' writable layers take of the graph root."""
        images, containers = await asyncio.to_thread(self._usage.measure)
        at = time.time_ns()
        return pb.ImageFsInfoResponse(
            image_filesystems=[self._filesystem(at, images)],
            container_filesystems=[self._filesystem(at, containers)],
        )

    def _filesystem(self, at: int, used: image_usage.Used) -> pb.FilesystemUsage:
        return pb.FilesystemUsage(
            timestamp=at,
            fs_id=pb.FilesystemIdentifier(mountpoint=str(self._images.store.config.graphroot)),
            used_bytes=common_pb2.UInt64Value(value=used.bytes),
            inodes_used=common_pb2.UInt64Value(value=used.inodes),
        )


def registry_digests(summary: ImageSummary) -> list[str]:
    """``repository@digest`` as registries have them: by what it was pulled, not what is in it.

    Of a multi-platform image the store knows the digests of the index and of this platform's
    manifest; registries give the first under the image's name.
    """
    digests = [name for name in summary.names if "@" in name]
    by_tag = {repository(name) for name in summary.names if "@" not in name}
    for digest in summary.repo_digests:
        of_platform = digest.endswith(f"@{summary.digest}") and _has_index(summary)
        if digest.partition("@")[0] in by_tag and not of_platform and digest not in digests:
            digests.append(digest)
    return digests


def _has_index(summary: ImageSummary) -> bool:
    return any(not digest.endswith(f"@{summary.digest}") for digest in summary.repo_digests)


def _given(spec: common_pb2.ImageSpec) -> str:
    if not spec.image:
        raise InvalidRequest("image.image has to be given")
    return spec.image


def _details(raw_config: bytes) -> str:
    """What a verbose status shows: the image's labels, and its whole config document."""
    config: object = json.loads(raw_config)
    labels: object = {}
    if isinstance(config, Mapping) and isinstance(inner := config.get("config"), Mapping):
        labels = inner.get("Labels") or {}
    return json.dumps({"labels": labels, "imageSpec": config})


def with_auth(context: ImageContext, auth: pb.AuthConfig | None) -> ImageContext:
    """The context with the caller's credentials, which win over every file.

    Raises InvalidRequest for an ``auth`` that is not base64 of user:password.
    """
    if auth is None:
        return context
    if auth.registry_token:
        return context.with_changes(registry_token=auth.registry_token)
    if auth.identity_token:
        return context.with_changes(identity_token=auth.identity_token)
    user, password = auth.username, auth.password
    if not user and auth.auth:
        try:
            decoded = base64.b64decode(auth.auth, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidRequest("auth.auth is not base64 of user:password") from None
        user, _, password = decoded.rstrip("\0").partition(":")
    return context.with_changes(credentials=(user, password)) if user else context
