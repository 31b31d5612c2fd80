"""Media types of OCI and Docker images, and what they say about a blob."""

from __future__ import annotations

from trilby.oci.errors import NotConvertible

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_LAYER_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_LAYER_NONDISTRIBUTABLE_GZIP = OCI_LAYER_NONDISTRIBUTABLE + "+gzip"
OCI_LAYER_NONDISTRIBUTABLE_ZSTD = OCI_LAYER_NONDISTRIBUTABLE + "+zstd"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
# Not in any specification, but written by some builders.
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_LAYER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_LAYER_FOREIGN_GZIP = DOCKER_LAYER_FOREIGN + ".gzip"

DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

ENCRYPTED_SUFFIX = "+encrypted"

MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMA1_TYPES = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
NONDISTRIBUTABLE_TYPES = frozenset(
    {
        OCI_LAYER_NONDISTRIBUTABLE,
        OCI_LAYER_NONDISTRIBUTABLE_GZIP,
        OCI_LAYER_NONDISTRIBUTABLE_ZSTD,
        DOCKER_LAYER_FOREIGN,
        DOCKER_LAYER_FOREIGN_GZIP,
    }
)
# Every manifest type that we read, most wanted first: the value of an Accept header.
ACCEPTED_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST)

_COMPRESSION = {
    OCI_LAYER: "",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    OCI_LAYER_NONDISTRIBUTABLE: "",
    OCI_LAYER_NONDISTRIBUTABLE_GZIP: "gzip",
    OCI_LAYER_NONDISTRIBUTABLE_ZSTD: "zstd",
    DOCKER_LAYER: "",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
    DOCKER_LAYER_FOREIGN: "",
    DOCKER_LAYER_FOREIGN_GZIP: "gzip",
}
_DOCKER_TO_OCI = {
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_LIST: OCI_INDEX,
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
    DOCKER_LAYER_FOREIGN: OCI_LAYER_NONDISTRIBUTABLE,
    DOCKER_LAYER_FOREIGN_GZIP: OCI_LAYER_NONDISTRIBUTABLE_GZIP,
}
_OCI_TO_DOCKER = {oci: docker for docker, oci in _DOCKER_TO_OCI.items()}
# A Docker engine does not know zstd layers, so OCI's have no Docker name.
del _OCI_TO_DOCKER[OCI_LAYER_ZSTD]


def normalise(media_type: str) -> str:
    """A Content-Type without its parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()


def is_index(media_type: str) -> bool:
    return media_type in INDEX_TYPES


def is_manifest(media_type: str) -> bool:
    """Whether this is a manifest of one image (not an index, not schema 1)."""
    return media_type in MANIFEST_TYPES


def is_layer(media_type: str) -> bool:
    return media_type.removesuffix(ENCRYPTED_SUFFIX) in _COMPRESSION


def is_config(media_type: str) -> bool:
    """Whether this is the config of a runnable image; anything else is an artifact."""
    return media_type in CONFIG_TYPES


def is_nondistributable(media_type: str) -> bool:
    return media_type.removesuffix(ENCRYPTED_SUFFIX) in NONDISTRIBUTABLE_TYPES


def is_encrypted(media_type: str) -> bool:
    return media_type.endswith(ENCRYPTED_SUFFIX)


def compression_of(media_type: str) -> str | None:
    """``"gzip"``, ``"zstd"``, ``""`` for none, or None when the type does not say."""
    return _COMPRESSION.get(media_type.removesuffix(ENCRYPTED_SUFFIX))


def with_compression(layer_type: str, compression: str) -> str:
    """The layer type of the same family with another compression (``""``, ``gzip``, ``zstd``).

    Raises NotConvertible when the family has no such member.
    """
    foreign = is_nondistributable(layer_type)
    if layer_type in _OCI_TO_DOCKER or layer_type.startswith(OCI_LAYER):
        base = OCI_LAYER_NONDISTRIBUTABLE if foreign else OCI_LAYER
        wanted = base + {"": "", "gzip": "+gzip", "zstd": "+zstd"}.get(compression, "+?")
    else:
        base = DOCKER_LAYER_FOREIGN if foreign else DOCKER_LAYER
        wanted = base + {"": "", "gzip": ".gzip", "zstd": ".zstd"}.get(compression, ".?")
    if wanted not in _COMPRESSION:
        raise NotConvertible(f"layer type {layer_type} has no form compressed with {compression}")
    return wanted


def to_oci(media_type: str) -> str:
    """The OCI name of a Docker type; OCI types (and unknown ones) as they are."""
    return _DOCKER_TO_OCI.get(media_type, media_type)


def to_docker(media_type: str) -> str:
    """The Docker name of an OCI type; raises NotConvertible when there is none."""
    if media_type in _DOCKER_TO_OCI:
        return media_type
    try:
        return _OCI_TO_DOCKER[media_type]
    except KeyError:
        raise NotConvertible(f"the Docker format has no equivalent of {media_type}") from None
