"""What is known about one image of the store: its documents, history, and podman's inspect form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trilby.errors import NotFound
from trilby.image.errors import CorruptImage
from trilby.image.service_list import LayerSizes, repo_digests, repo_tags
from trilby.image.service_types import HistoryEntry
from trilby.image.transports.names import MANIFEST_KEY, manifest_key
from trilby.oci.codec import JsonValue, decode_any
from trilby.oci.digest import Digest
from trilby.oci.errors import OciError
from trilby.oci.image import ImageConfig, parse_image_config
from trilby.oci.manifest import Index, Manifest, parse_manifest

if TYPE_CHECKING:
    from trilby.storage.records import Image, Layer
    from trilby.storage.store import Store

MISSING = "<missing>"


def raw_manifest(store: Store, image: Image) -> bytes:
    """The manifest of this platform, byte for byte. Raises CorruptImage if there is none."""
    keys = [MANIFEST_KEY, *(manifest_key(Digest.parse(digest)) for digest in image.digests)]
    for key in keys:
        try:
            raw = store.image_big_data(image.id, key)
            if not isinstance(parse_manifest(raw), Index):
                return raw
        except (NotFound, OciError):
            continue
    raise CorruptImage(
        f"reading image {image.id[:12]}: the store has no manifest of it",
        hint="remove the image and pull it again",
    )


def manifest_of(store: Store, image: Image) -> Manifest:
    found = parse_manifest(raw_manifest(store, image), None, f"manifest of {image.id[:12]}")
    assert isinstance(found, Manifest), "raw_manifest gives no index"
    return found


def raw_config(store: Store, image: Image) -> bytes:
    """The config document, byte for byte. Raises CorruptImage if there is none."""
    key = f"sha256:{image.id}"
    if key not in image.big_data_names:
        key = str(manifest_of(store, image).config.digest)
    try:
        return store.image_big_data(image.id, key)
    except NotFound as error:
        raise CorruptImage(
            f"reading image {image.id[:12]}: the store has no config of it",
            hint="remove the image and pull it again",
        ) from error


def image_config(store: Store, image: Image) -> ImageConfig:
    return parse_image_config(raw_config(store, image), f"config of image {image.id[:12]}")


def layer_chain(store: Store, image: Image) -> list[Layer]:
    """The image's layers, lowest first. Raises CorruptImage if one is missing."""
    chain: list[Layer] = []
    layer_id = image.top_layer
    while layer_id:
        layer = store.layer(layer_id)
        if layer is None:
            raise CorruptImage(
                f"reading image {image.id[:12]}: its layer {layer_id[:12]} is missing",
                hint="remove the image and pull it again",
            )
        chain.append(layer)
        layer_id = layer.parent
    return chain[::-1]


def history(store: Store, image: Image) -> list[HistoryEntry]:
    """The steps of the config's history with their layers, the newest first."""
    chain = layer_chain(store, image)
    left = iter(chain)
    entries: list[HistoryEntry] = []
    for step in image_config(store, image).history:
        layer = None if step.empty_layer else next(left, None)
        entries.append(
            HistoryEntry(
                created=step.created,
                created_by=step.created_by,
                comment=step.comment,
                size=max(layer.diff_size, 0) if layer else 0,
                layer=layer.id if layer else "",
                id=MISSING,
            )
        )
    # Images of tools that write no history still have layers to show.
    for layer in left:
        entries.append(
            HistoryEntry(
                created=layer.created,
                created_by="",
                comment="",
                size=max(layer.diff_size, 0),
                layer=layer.id,
                id=MISSING,
            )
        )
    entries.reverse()
    if entries:
        entries[0] = msgspec.structs.replace(entries[0], id=image.id, tags=repo_tags(image))
    return entries


def inspect_image(store: Store, image: Image) -> dict[str, object]:
    """A document with the keys of podman's ``image inspect``."""
    manifest = manifest_of(store, image)
    raw = decode_any(raw_config(store, image), f"config of image {image.id[:12]}")
    document: dict[str, JsonValue] = raw if isinstance(raw, dict) else {}
    config = image_config(store, image)
    size = LayerSizes(store.layers()).image(image)
    steps = document.get("history")
    last = config.history[-1] if config.history else None
    runtime = document.get("config")
    inspected: dict[str, object] = {
        "Id": image.id,
        "Digest": image.digest,
        "RepoTags": list(repo_tags(image)),
        "RepoDigests": list(repo_digests(image)),
        "Parent": "",
        "Comment": last.comment if last else "",
        "Created": config.created or image.created,
        "Config": runtime if isinstance(runtime, dict) else {},
        "Version": document.get("docker_version", ""),
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": size,
        "VirtualSize": size,
        "GraphDriver": {"Name": store.driver, "Data": _driver_data(store, image)},
        "RootFS": {"Type": config.rootfs.type, "Layers": [str(one) for one in config.diff_ids]},
        "Labels": config.config.labels or None,
        "Annotations": manifest.annotations,
        "ManifestType": manifest.media_type,
        "User": config.config.user,
        "History": steps if isinstance(steps, list) else [],
        "NamesHistory": list(image.names_history),
    }
    if isinstance(runtime, dict) and runtime.get("Healthcheck"):
        inspected["Healthcheck"] = runtime["Healthcheck"]
    return inspected


def _driver_data(store: Store, image: Image) -> dict[str, str]:
    if store.driver != "overlay" or not image.top_layer:
        return {}
    home = f"{store.config.graphroot}/overlay"
    lowers = [f"{home}/{layer.id}/diff" for layer in layer_chain(store, image)[-2::-1]]
    data = {"LowerDir": ":".join(lowers)} if lowers else {}
    top = f"{home}/{image.top_layer}"
    return {**data, "UpperDir": f"{top}/diff", "WorkDir": f"{top}/work"}
