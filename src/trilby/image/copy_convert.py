"""Decide what a copied manifest becomes: which type, and what happens to each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from trilby.image.copy_errors import CannotModify
from trilby.image.errors import UnsupportedImage
from trilby.oci import media
from trilby.oci.errors import NotConvertible

if TYPE_CHECKING:
    from trilby.image.copy_types import CopyOptions
    from trilby.image.transport import Capabilities, Destination, Source
    from trilby.oci.descriptor import Descriptor
    from trilby.oci.manifest import Index, Manifest

Compression = Literal["", "gzip", "zstd"]

_FORMATS = {"oci": media.OCI_MANIFEST, "v2s2": media.DOCKER_MANIFEST}
_INDEX_FORMATS = {"oci": media.OCI_INDEX, "v2s2": media.DOCKER_LIST}


class LayerPlan(msgspec.Struct, frozen=True):
    """What happens to one layer on its way; ``target`` None leaves its bytes as they are."""

    target: Compression | None

    @property
    def changes(self) -> bool:
        return self.target is not None


def wanted_type(manifest: Manifest, takes: Capabilities, options: CopyOptions) -> str:
    """The type to write: forced, else the source's own, else the first that is accepted.

    zstd layers need OCI. Raises UnsupportedImage.
    """
    accepted = [kind for kind in takes.manifest_types if media.is_manifest(kind)]
    if options.format:
        return _accepted(_FORMATS[options.format], accepted, manifest.media_type)
    compresses = takes.layers == "compress" or options.layers == "compress"
    if options.compression == "zstd" and (compresses or options.recompress):
        return _accepted(media.OCI_MANIFEST, accepted, manifest.media_type)
    if not accepted or manifest.media_type in accepted:
        return manifest.media_type
    return accepted[0]


def wanted_index_type(index: Index, takes: Capabilities, options: CopyOptions) -> str:
    """The type to write for an index; the same order as for manifests."""
    accepted = [kind for kind in takes.manifest_types if media.is_index(kind)]
    if options.format:
        return _accepted(_INDEX_FORMATS[options.format], accepted, index.media_type)
    if options.compression == "zstd" and (takes.layers == "compress" or options.recompress):
        return _accepted(media.OCI_INDEX, accepted, index.media_type)
    if not takes.manifest_types or index.media_type in accepted:
        return index.media_type
    if not accepted:
        raise UnsupportedImage(
            f"the destination accepts no manifest of type {index.media_type}",
            hint="copy one platform only",
        )
    return accepted[0]


def _accepted(wanted: str, accepted: list[str], present: str) -> str:
    if accepted and wanted not in accepted:
        raise UnsupportedImage(
            f"the destination accepts no manifest of type {wanted} (the image's is {present})",
            hint=f"it accepts {', '.join(accepted)}",
        )
    return wanted


def plan_layer(layer: Descriptor, takes: Capabilities, options: CopyOptions) -> LayerPlan:
    """Whether a layer is compressed, decompressed or recompressed on its way.

    Encrypted layers, foreign layers and blobs that are not layers stay as they are.
    """
    present = media.compression_of(layer.media_type)
    untouchable = media.is_encrypted(layer.media_type) or layer.urls
    if present is None or untouchable or options.preserve_digests or takes.pinned:
        return LayerPlan(None)
    choice = options.layers or takes.layers
    wanted: Compression = options.compression or "gzip"
    if choice == "decompress":
        return LayerPlan("" if present else None)
    if choice == "compress" and present == "":
        return LayerPlan(wanted)
    if options.recompress and present not in ("", wanted):
        return LayerPlan(wanted)
    return LayerPlan(None)


def layer_type(layer: Descriptor, plan: LayerPlan, manifest_type: str) -> str:
    """The media type of a layer as it will stand in the written manifest."""
    name = layer.media_type
    if manifest_type == media.OCI_MANIFEST:
        name = media.to_oci(name)
    if plan.target is not None:
        name = media.with_compression(name, plan.target)
    if manifest_type == media.DOCKER_MANIFEST:
        # A zstd layer has no Docker name: say what to do, not only that it failed.
        try:
            name = media.to_docker(name)
        except NotConvertible as error:
            raise NotConvertible(error.message, hint="write an OCI manifest, or use gzip") from None
    return name


def check_untouchable(
    source: Source, destination: Destination, options: CopyOptions, reason: str
) -> None:
    """Raise CannotModify if the caller or the destination wants the very same manifest."""
    if options.preserve_digests:
        why = "digests are to be preserved"
    elif destination.capabilities.pinned:
        why = "the destination's reference has a digest"
    else:
        return
    raise CannotModify(
        f"copying {source.reference} to {destination.reference}: {reason}, but {why}",
        hint="allow another digest, or drop the conversion",
    )
