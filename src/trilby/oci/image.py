"""The image configuration (image-spec, config.md): what an image says about running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trilby.oci import codec
from trilby.oci.descriptor import Platform
from trilby.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence


class Nothing(msgspec.Struct, frozen=True):
    """The empty object that the specification uses for the values of sets."""


class Healthcheck(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """Docker's health check; times are nanoseconds. Not in the OCI specification."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerDefaults(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """Defaults for a container of the image; the member ``config`` of the document."""

    user: str = ""
    exposed_ports: dict[str, Nothing] = {}
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: dict[str, Nothing] = {}
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None


class RootFs(msgspec.Struct, frozen=True):
    type: str = "layers"
    diff_ids: tuple[Digest, ...] = ()


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parts of an image configuration that we use. The stored bytes are the document.

    ``created`` is RFC 3339 as it stands in the document (it may have nanoseconds).
    """

    created: str = ""
    author: str = ""
    # Required by the specification: always written, and lenient when reading artifacts' configs.
    architecture: str = ""
    variant: str = ""
    os: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: tuple[str, ...] = msgspec.field(name="os.features", default=())
    config: ContainerDefaults = ContainerDefaults()
    rootfs: RootFs = RootFs()
    history: tuple[History, ...] = ()

    @property
    def platform(self) -> Platform:
        return Platform(
            os=self.os,
            architecture=self.architecture,
            variant=self.variant,
            os_version=self.os_version,
            os_features=self.os_features,
        )

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """Digests of the uncompressed layers, lowest first."""
        return self.rootfs.diff_ids

    def encode(self) -> bytes:
        """The document of a config that we made; one read from elsewhere keeps its bytes."""
        members = codec.decode_members(codec.encode(self))
        for name in ("architecture", "os", "config", "rootfs"):
            members.setdefault(name, msgspec.Raw(codec.encode(getattr(self, name))))
        return codec.encode(members, sort_keys=False)


def parse_image_config(raw: bytes, what: str = "image configuration") -> ImageConfig:
    """Read a configuration, OCI's or Docker's; raises MalformedDocument."""
    return codec.decode(ImageConfig, raw, what)


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """The chain ID up to each layer (config.md, "Layer ChainID")."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        below = chain[-1] if chain else None
        chain.append(diff_id if below is None else Digest.of(f"{below} {diff_id}".encode()))
    return tuple(chain)


def chain_id(diff_ids: Sequence[Digest]) -> Digest | None:
    """The chain ID of all layers together, None when there are none."""
    chain = chain_ids(diff_ids)
    return chain[-1] if chain else None
