"""Names in the store: ``containers-storage:`` references, layer and image ids, big data keys.

Everything here is a rule that podman, skopeo, buildah and CRI-O share (containers/image, storage).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from trilby.image.errors import ImageNotFound, InvalidReference
from trilby.image.reference import Reference, has_domain, split_suffixes
from trilby.oci.codec import decode, encode
from trilby.oci.digest import Digest
from trilby.oci.errors import OciError
from trilby.oci.manifest import Index, parse_manifest
from trilby.oci.platform import choose

if TYPE_CHECKING:
    from trilby.oci.descriptor import Platform
    from trilby.storage.records import Image
    from trilby.storage.store import Store

MANIFEST_KEY = "manifest"
SIGNATURES_KEY = "signatures"

_ID = re.compile(r"[0-9a-f]{64}")
_ID_PREFIX = re.compile(r"[0-9a-f]{3,64}")


class StorageName(msgspec.Struct, frozen=True):
    """``[[driver@]graphroot[+runroot][:options]]NAME[@ID]`` or ``...]@ID`` in its parts.

    ``located`` says that the brackets were there; without them the system's store is meant.
    """

    driver: str = ""
    graphroot: str = ""
    runroot: str = ""
    options: tuple[str, ...] = ()
    reference: Reference | None = None
    image_id: str = ""

    @property
    def located(self) -> bool:
        return bool(self.graphroot)


def parse_storage_name(rest: str) -> StorageName:
    """Read what follows ``containers-storage:``. Raises InvalidReference."""
    driver = graphroot = runroot = ""
    options: tuple[str, ...] = ()
    name = rest
    if rest.startswith("["):
        place, bracket, name = rest[1:].partition("]")
        if not bracket:
            raise InvalidReference(f"invalid name containers-storage:{rest}: no closing bracket")
        place, _, option_text = place.partition(":")
        options = tuple(option for option in option_text.split(",") if option)
        head, at, tail = place.partition("@")
        driver, place = (head, tail) if at else ("", place)
        graphroot, _, runroot = place.partition("+")
        if not graphroot.startswith("/"):
            raise InvalidReference(
                f"invalid name containers-storage:{rest}: {graphroot!r} is no absolute path"
            )
    reference, image_id = _parse_image(name, rest)
    return StorageName(driver, graphroot, runroot, options, reference, image_id)


def _parse_image(name: str, rest: str) -> tuple[Reference | None, str]:
    if not name:
        raise InvalidReference(f"invalid name containers-storage:{rest}: an image is missing")
    head, at, last = name.rpartition("@")
    if at and _ID.fullmatch(last):
        return (Reference.parse(head).with_default_tag() if head else None), last
    if _ID_PREFIX.fullmatch(name.lstrip("@")) and (at or len(name) == 64):
        return None, name.lstrip("@")
    return Reference.parse(name).with_default_tag(), ""


def stored_name(reference: Reference) -> str:
    """How a name stands in an image's record: with a tag, or else with a digest."""
    if reference.digest is not None:
        return str(reference.without_tag())
    return str(reference.with_default_tag())


def local_name(text: str) -> Reference:
    """A name for something made here: without a registry it is ``localhost/...``, with a tag."""
    full = text if has_domain(split_suffixes(text)[0]) else f"localhost/{text}"
    return Reference.parse(full).with_default_tag()


def layer_ids(diff_ids: Iterable[Digest]) -> list[str]:
    """The id of each layer in the store, lowest first, from the digests of their contents."""
    ids: list[str] = []
    for diff_id in diff_ids:
        if not ids and diff_id.algorithm == "sha256":
            ids.append(diff_id.encoded)
            continue
        below = ids[-1] if ids else ""
        ids.append(Digest.of(f"{below}+{diff_id.encoded}".encode()).encoded)
    return ids


def image_id(config: Digest, raw_config: bytes) -> str:
    """The image's id: its config's digest (always 64 digits, so SHA-256)."""
    return config.encoded if config.algorithm == "sha256" else Digest.of(raw_config).encoded


def manifest_key(digest: Digest) -> str:
    return f"manifest-{digest}"


def signatures_key(digest: Digest) -> str:
    return f"signature-{digest.encoded}"


class SignatureSizes(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image's ``metadata``: where one signature ends and the next begins."""

    signature_sizes: tuple[int, ...] = msgspec.field(name="signature-sizes", default=())
    signatures_sizes: dict[str, tuple[int, ...]] = msgspec.field(
        name="signatures-sizes", default_factory=dict
    )


def read_sizes(metadata: str) -> SignatureSizes:
    """Lenient: what is not ours to understand says nothing about signatures."""
    try:
        return decode(SignatureSizes, metadata.encode(), "image metadata")
    except OciError:
        return SignatureSizes()


def signature_metadata(sizes: SignatureSizes, manifest: Digest, signatures: Sequence[bytes]) -> str:
    """The metadata with one manifest's signatures in place of what it had for that manifest."""
    lengths = tuple(len(signature) for signature in signatures)
    by_manifest = dict(sizes.signatures_sizes)
    if lengths:
        by_manifest[str(manifest)] = lengths
    changed = SignatureSizes(lengths or sizes.signature_sizes, by_manifest)
    return encode(changed).decode()


def split_signatures(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The single signatures of a concatenation; [] if the sizes do not fit."""
    if sum(sizes) != len(data):
        return []
    found: list[bytes] = []
    start = 0
    for size in sizes:
        found.append(data[start : start + size])
        start += size
    return found


def resolve(store: Store, name: StorageName, platform: Platform | None = None) -> Image:
    """The image that a reference means. Raises ImageNotFound.

    First the very name, then (for a name with a digest) an image of the same repository that has a
    manifest of that digest: with an index, the one for this platform.
    """
    shown = str(name.reference or name.image_id)
    if name.image_id:
        found = store.image(name.image_id)
        if found is not None and found.id.startswith(name.image_id):
            return found
    elif name.reference is not None:
        found = store.image(stored_name(name.reference))
        if found is None and name.reference.digest is not None:
            found = _by_digest(store, name.reference, name.reference.digest, platform)
        if found is not None:
            return found
    raise ImageNotFound(
        f"reference {shown!r} does not resolve to an image ID",
        hint="trilby image list shows what the store has",
    )


def _by_digest(
    store: Store, reference: Reference, digest: Digest, platform: Platform | None
) -> Image | None:
    candidates = [
        image
        for image in store.images_by_digest(str(digest))
        if any(_same_repository(name, reference) for name in image.names)
    ]
    for image in candidates:
        if _is_instance(store, image, digest, platform):
            return image
    return None


def _same_repository(name: str, reference: Reference) -> bool:
    try:
        return Reference.parse(name).name == reference.name
    except InvalidReference:
        return False


def _is_instance(store: Store, image: Image, digest: Digest, platform: Platform | None) -> bool:
    """Whether the image is what the manifest or index of this digest means on this platform."""
    try:
        raw = store.image_big_data(image.id, manifest_key(digest))
        found = parse_manifest(raw)
        if not isinstance(found, Index):
            return True
        return str(choose(found.manifests, platform).digest) in image.digests
    except OciError:
        return False
