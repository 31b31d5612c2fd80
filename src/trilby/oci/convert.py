"""Manifests said in the other format: OCI <-> Docker schema 2, index <-> list.

Only what must change changes: media types, and on the way to Docker what Docker cannot say
(annotations). Config and layer blobs stay the same blobs, so their digests do.
"""

from __future__ import annotations

from msgspec.structs import replace

from trilby.oci import media
from trilby.oci.descriptor import Descriptor
from trilby.oci.errors import NotConvertible
from trilby.oci.manifest import Index, Manifest, make_index, make_manifest


def convert_manifest(manifest: Manifest, media_type: str) -> Manifest:
    """The manifest as ``media_type`` (OCI_MANIFEST or DOCKER_MANIFEST); raises NotConvertible."""
    if manifest.media_type == media_type:
        return manifest
    if media_type == media.OCI_MANIFEST:
        return manifest.replace(
            media_type=media_type,
            config=_to_oci(manifest.config),
            layers=[_to_oci(layer) for layer in manifest.layers],
        )
    if media_type != media.DOCKER_MANIFEST:
        raise NotConvertible(f"cannot convert {manifest.media_type} to {media_type}")
    if not manifest.is_image:
        kind = manifest.artifact_type or manifest.config.media_type
        raise NotConvertible(f"an artifact of type {kind} cannot be a Docker image")
    # Members that only OCI knows (subject, artifactType) would mean nothing, so write it anew.
    return make_manifest(
        _to_docker(manifest.config),
        [_to_docker(layer) for layer in manifest.layers],
        media_type=media_type,
    )


def convert_index(index: Index, media_type: str, manifests: tuple[Descriptor, ...] = ()) -> Index:
    """The index as ``media_type`` (OCI_INDEX or DOCKER_LIST).

    Its manifests keep their types; ``manifests`` replaces them when they were converted as well.
    """
    members = manifests or index.manifests
    if index.media_type == media_type:
        return index if members == index.manifests else index.replace(manifests=members)
    if media_type == media.OCI_INDEX:
        return index.replace(media_type=media_type, manifests=members)
    if media_type != media.DOCKER_LIST:
        raise NotConvertible(f"cannot convert {index.media_type} to {media_type}")
    return make_index(
        [replace(item, annotations={}, artifact_type="", data="") for item in members],
        media_type=media_type,
    )


def _to_oci(descriptor: Descriptor) -> Descriptor:
    return replace(descriptor, media_type=media.to_oci(descriptor.media_type))


def _to_docker(descriptor: Descriptor) -> Descriptor:
    if media.is_encrypted(descriptor.media_type):
        raise NotConvertible("the Docker format has no encrypted layers")
    return Descriptor(
        media_type=media.to_docker(descriptor.media_type),
        digest=descriptor.digest,
        size=descriptor.size,
        urls=descriptor.urls,
    )
