"""Image manifests and indexes, OCI's and Docker's (image-spec, manifest.md and image-index.md).

The bytes are the document: what was read keeps its bytes, and a change writes only the members
that change, so members which we do not know survive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trilby.oci import codec, media
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.errors import MalformedDocument, UnsupportedManifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA_VERSION = 2


class _ManifestFields(msgspec.Struct, frozen=True, rename="camel"):
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}
    artifact_type: str = ""
    subject: Descriptor | None = None


class _IndexFields(msgspec.Struct, frozen=True, rename="camel"):
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}
    artifact_type: str = ""
    subject: Descriptor | None = None


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int = 0
    media_type: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """One image (or artifact): its config and its layers, lowest first."""

    media_type: str
    raw: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def digest(self) -> Digest:
        """The digest of the bytes, SHA-256."""
        return Digest.of(self.raw)

    @property
    def is_image(self) -> bool:
        """Whether it is a runnable image, not another artifact."""
        return media.is_config(self.config.media_type)

    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.raw))

    def replace(
        self,
        *,
        media_type: str | None = None,
        config: Descriptor | None = None,
        layers: Sequence[Descriptor] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Manifest:
        """The manifest with these members changed, and everything else byte for byte.

        New layers correspond to the old ones by position.
        """
        members = codec.decode_members(self.raw, "manifest")
        if media_type is not None:
            members["mediaType"] = _raw_of(media_type)
        if config is not None:
            members["config"] = _merge(members["config"], self.config, config)
        if layers is not None:
            members["layers"] = _merge_list(members["layers"], self.layers, layers)
        if annotations is not None:
            _set_annotations(members, annotations)
        raw = codec.encode(members, sort_keys=False)
        return parse_image_manifest(raw, media_type or self.media_type)


class Index(msgspec.Struct, frozen=True):
    """Several manifests, one for each platform."""

    media_type: str
    raw: bytes
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def digest(self) -> Digest:
        """The digest of the bytes, SHA-256."""
        return Digest.of(self.raw)

    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.raw))

    def replace(
        self,
        *,
        media_type: str | None = None,
        manifests: Sequence[Descriptor] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Index:
        """The index with these members changed, and everything else byte for byte."""
        members = codec.decode_members(self.raw, "index")
        if media_type is not None:
            members["mediaType"] = _raw_of(media_type)
        if manifests is not None:
            members["manifests"] = _merge_list(members["manifests"], self.manifests, manifests)
        if annotations is not None:
            _set_annotations(members, annotations)
        return parse_index(codec.encode(members, sort_keys=False), media_type or self.media_type)


def parse_manifest(
    raw: bytes, media_type: str | None = None, what: str = "manifest"
) -> Manifest | Index:
    """Read a manifest or an index of any type that we know.

    ``media_type`` is what the sender called it. A known one must agree with the document; an
    unknown or missing one makes the document decide. Raises MalformedDocument,
    UnsupportedManifest.
    """
    members = codec.decode_members(raw, what)
    head = codec.decode(_Head, raw, what)
    _refuse_ambiguous(members, what)
    found = _type_of(members, head, media.normalise(media_type or ""), what)
    if media.is_index(found):
        return parse_index(raw, found, what)
    return parse_image_manifest(raw, found, what)


def parse_image_manifest(raw: bytes, media_type: str, what: str = "manifest") -> Manifest:
    """Read a manifest of a type that is already known; raises MalformedDocument."""
    fields = codec.decode(_ManifestFields, raw, what)
    return Manifest(
        media_type=media_type,
        raw=raw,
        config=fields.config,
        layers=fields.layers,
        annotations=fields.annotations,
        artifact_type=fields.artifact_type,
        subject=fields.subject,
    )


def parse_index(raw: bytes, media_type: str = media.OCI_INDEX, what: str = "index") -> Index:
    """Read an index or a Docker list; raises MalformedDocument."""
    fields = codec.decode(_IndexFields, raw, what)
    return Index(
        media_type=media_type,
        raw=raw,
        manifests=fields.manifests,
        annotations=fields.annotations,
        artifact_type=fields.artifact_type,
        subject=fields.subject,
    )


def make_manifest(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    media_type: str = media.OCI_MANIFEST,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str = "",
    subject: Descriptor | None = None,
) -> Manifest:
    """Write a new manifest; its ``raw`` is the document."""
    document: dict[str, object] = {"schemaVersion": SCHEMA_VERSION, "mediaType": media_type}
    if artifact_type:
        document["artifactType"] = artifact_type
    document |= {"config": config, "layers": tuple(layers)}
    if subject is not None:
        document["subject"] = subject
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    return parse_image_manifest(codec.encode(document, sort_keys=False), media_type)


def make_index(
    manifests: Sequence[Descriptor],
    *,
    media_type: str = media.OCI_INDEX,
    annotations: Mapping[str, str] | None = None,
) -> Index:
    """Write a new index; its ``raw`` is the document."""
    document: dict[str, object] = {
        "schemaVersion": SCHEMA_VERSION,
        "mediaType": media_type,
        "manifests": tuple(manifests),
    }
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    return parse_index(codec.encode(document, sort_keys=False), media_type)


def _type_of(members: Mapping[str, msgspec.Raw], head: _Head, sent_as: str, what: str) -> str:
    schema1 = head.schema_version == 1 or head.media_type in media.SCHEMA1_TYPES
    if schema1 or (sent_as in media.SCHEMA1_TYPES and "fsLayers" in members):
        raise UnsupportedManifest(
            f"{what}: Docker image manifest version 2, schema 1 is not supported",
            hint="push the image again with a tool newer than 2017",
        )
    known = media.MANIFEST_TYPES | media.INDEX_TYPES
    if head.schema_version != SCHEMA_VERSION:
        raise MalformedDocument(f"{what}: schemaVersion is {head.schema_version}, not 2")
    if head.media_type and head.media_type not in known:
        raise UnsupportedManifest(f"{what}: unsupported manifest type {head.media_type!r}")
    if head.media_type and sent_as in known and head.media_type != sent_as:
        # One document read as two things by two readers is an attack (CVE-2021-41190).
        raise MalformedDocument(f"{what}: sent as {sent_as} but says that it is {head.media_type}")
    found = head.media_type or (sent_as if sent_as in known else _guess(members))
    needed = {"manifests"} if media.is_index(found) else {"config", "layers"}
    missing = sorted(needed - members.keys())
    if missing:
        raise MalformedDocument(f"{what}: a document of type {found} needs {', '.join(missing)}")
    return found


def _guess(members: Mapping[str, msgspec.Raw]) -> str:
    if "manifests" in members:
        return media.OCI_INDEX
    config = members.get("config", msgspec.Raw(b"{}"))
    if bytes(config).startswith(b"{"):
        head = codec.decode(_Head, bytes(config), "manifest config")
        if head.media_type == media.DOCKER_CONFIG:
            return media.DOCKER_MANIFEST
    return media.OCI_MANIFEST


def _refuse_ambiguous(members: Mapping[str, msgspec.Raw], what: str) -> None:
    families = ({"manifests"}, {"config", "layers"}, {"fsLayers", "history"})
    present = [sorted(family & members.keys()) for family in families if family & members.keys()]
    if len(present) > 1:
        names = ", ".join(name for names in present for name in names)
        raise MalformedDocument(f"{what}: ambiguous, it has all of: {names}")


def _raw_of(value: object) -> msgspec.Raw:
    return msgspec.Raw(codec.encode(value))


def _set_annotations(members: dict[str, msgspec.Raw], annotations: Mapping[str, str]) -> None:
    if annotations:
        members["annotations"] = _raw_of(dict(annotations))
    else:
        members.pop("annotations", None)


def _merge(stored: msgspec.Raw, old: Descriptor, new: Descriptor) -> msgspec.Raw:
    """The stored bytes of a descriptor with what differs between old and new changed."""
    if new == old:
        return stored
    members = codec.decode_members(bytes(stored), "descriptor")
    before, after = (codec.decode_members(codec.encode(item)) for item in (old, new))
    for name in before.keys() - after.keys():
        members.pop(name, None)
    for name, value in after.items():
        if name not in before or bytes(before[name]) != bytes(value):
            members[name] = value
    return msgspec.Raw(codec.encode(members, sort_keys=False))


def _merge_list(
    stored: msgspec.Raw, old: Sequence[Descriptor], new: Sequence[Descriptor]
) -> msgspec.Raw:
    raws = codec.decode_items(bytes(stored), "descriptors") if old else []
    merged = [
        _merge(raw, before, after) for raw, before, after in zip(raws, old, new, strict=False)
    ]
    merged += [_raw_of(item) for item in new[len(merged) :]]
    return msgspec.Raw(codec.encode(merged, sort_keys=False))
