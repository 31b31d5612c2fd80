"""The images of a daemon, with the methods of ``trilby.image.service.Images`` that it can have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from trilby.cri.client.connection import Connection
from trilby.cri.proto import common_pb2
from trilby.cri.proto import image_pb2 as pb
from trilby.errors import TrilbyError
from trilby.image.errors import ImageNotFound
from trilby.image.progress import Progress
from trilby.image.service_list import ImageSummary
from trilby.image.service_types import PulledImage, PullPolicy
from trilby.oci.image import ImageConfig

if TYPE_CHECKING:
    from trilby.image.context import ImageContext


class RemoteImages:
    """``context`` has credentials, which go along with a pull; the rest is the daemon's own."""

    def __init__(self, connection: Connection, context: ImageContext | None = None) -> None:
        self._connection = connection
        self._context = context
        self._known: dict[str, pb.Image] = {}

    async def list(self) -> list[ImageSummary]:
        """All images. When they were made is not told."""
        answer = await self._connection.call(pb.ListImagesRequest(), pb.ListImagesResponse)
        return [summary(image) for image in answer.images]

    async def find(self, name: str) -> pb.Image:
        """Raises ImageNotFound."""
        answer = await self._ask(name)
        if not answer.image.id:
            raise ImageNotFound(f"the daemon has no image {name}", hint="trilby image pull it")
        return answer.image

    async def details(self, name: str) -> tuple[pb.Image, dict[str, object]]:
        """An image and what a verbose status shows of it. Raises ImageNotFound."""
        answer = await self._ask(name, verbose=True)
        if not answer.image.id:
            raise ImageNotFound(f"the daemon has no image {name}", hint="trilby image pull it")
        found: object = json.loads(answer.info.get("info", "{}"))
        info = {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}
        return answer.image, info

    async def pull(
        self, name: str, policy: PullPolicy = "missing", *, progress: Progress | None = None
    ) -> PulledImage:
        """As there; "newer" is "always", and there is no progress of single layers.

        Raises ImageNotFound with "never"; what the daemon says of a pull that failed.
        """
        there = (await self._ask(name)).image
        if policy == "never" and not there.id:
            raise ImageNotFound(f"the daemon has no image {name}, and it must not be pulled")
        image = there
        if policy in ("always", "newer") or not there.id:
            answer = await self._connection.call(
                pb.PullImageRequest(image=common_pb2.ImageSpec(image=name), auth=self._auth(name)),
                pb.PullImageResponse,
                timeout=None,
            )
            image = await self.find(answer.image_ref)
        self._known[image.id] = image
        return PulledImage(
            id=image.id, name=name, digest=_digest(image), changed=image.id != there.id
        )

    def config(self, name: str) -> ImageConfig:
        """Of an image that was pulled: its user only, which is what the CRI tells."""
        image = self._known[name]
        user = str(image.uid.value) if image.HasField("uid") else image.username
        config = ImageConfig()
        return msgspec.structs.replace(
            config, config=msgspec.structs.replace(config.config, user=user)
        )

    async def remove(self, image_id: str) -> None:
        """With all its names; one that is not there is no error."""
        await self._connection.call(
            pb.RemoveImageRequest(image=common_pb2.ImageSpec(image=image_id)),
            pb.RemoveImageResponse,
            timeout=None,
        )

    async def _ask(self, name: str, *, verbose: bool = False) -> pb.ImageStatusResponse:
        return await self._connection.call(
            pb.ImageStatusRequest(image=common_pb2.ImageSpec(image=name), verbose=verbose),
            pb.ImageStatusResponse,
        )

    def _auth(self, name: str) -> pb.AuthConfig | None:
        """The caller's credentials, if it names any; else the daemon looks for its own."""
        context = self._context
        if context is None:
            return None
        if context.credentials is not None:
            user, password = context.credentials
            return pb.AuthConfig(username=user, password=password)
        if context.auth_file is None:
            return None
        from trilby.image.auth import get_credentials
        from trilby.image.reference import parse

        try:
            reference = parse(name)
        except TrilbyError:
            return None  # a short name: which registry it is of is for the daemon to find
        found = get_credentials(reference.name, authfile=context.auth_file)
        if found is None:
            return None
        return pb.AuthConfig(
            username=found.username,
            password=found.password,
            identity_token=found.identity_token,
        )


def summary(image: pb.Image) -> ImageSummary:
    """A line of a list."""
    return ImageSummary(
        id=image.id.removeprefix("sha256:"),
        names=tuple(image.repo_tags),
        repo_digests=tuple(image.repo_digests),
        digest=_digest(image),
        created=0,
        size=image.size,
    )


def _digest(image: pb.Image) -> str:
    return next((name.partition("@")[2] for name in image.repo_digests), "")
