"""Checking a store: is all there that its records say, and (on request) is it what they say?

Nothing is changed. What is wrong with a layer is wrong with every image and container over it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

from msgspec import Struct

from trilby.storage.bigdata import digest_of
from trilby.storage.containers import ContainerStore
from trilby.storage.drivers.base import Driver
from trilby.storage.errors import StorageError
from trilby.storage.images import ImageStore
from trilby.storage.layers import LayerStore
from trilby.storage.records import Image, Layer


class Checked(Struct, frozen=True):
    """Problems by the ID of what has them; all empty is a sound store."""

    layers: dict[str, list[str]]
    images: dict[str, list[str]]
    containers: dict[str, list[str]]

    @property
    def sound(self) -> bool:
        """Whether there is no problem at all."""
        return not (self.layers or self.images or self.containers)


def check_store(
    driver: Driver,
    layers: LayerStore,
    images: ImageStore,
    containers: ContainerStore,
    export: Callable[[str], BinaryIO],
    *,
    known_elsewhere: set[str],
    contents: bool,
) -> Checked:
    """Look at everything; ``contents`` reads each layer and compares its digest, which is slow."""
    known = layers.records.snapshot()
    ids = {layer.id for layer in known.records if not layer.incomplete} | known_elsewhere
    found = Checked({}, {}, {})
    for layer in known.records:
        problems = _layer_problems(driver, layer, ids)
        if contents and not problems and layer.diff_id:
            problems += _content_problems(layer, export)
        if problems:
            found.layers[layer.id] = problems
    for image in images.records.snapshot().records:
        problems = _image_problems(images, image)
        for top in (image.top_layer, *image.mapped_layers):
            if top and (top not in ids or top in found.layers):
                problems.append(f"its layer {top[:12]} is missing or damaged")
        if problems:
            found.images[image.id] = problems
    for container in containers.records.snapshot().records:
        if container.layer_id not in ids or container.layer_id in found.layers:
            found.containers[container.id] = [
                f"its layer {container.layer_id[:12]} is missing or damaged"
            ]
    return found


def _layer_problems(driver: Driver, layer: Layer, ids: set[str]) -> list[str]:
    if layer.incomplete:
        return ["it is incomplete: whoever made or deleted it was killed"]
    problems = []
    if layer.parent and layer.parent not in ids:
        problems.append(f"its parent {layer.parent[:12]} is missing")
    if not driver.exists(layer.id):
        problems.append("its directory is missing")
        return problems
    try:
        for root in driver.roots(layer.id):
            if not os.path.isdir(root):
                problems.append(f"the directory {root} is missing")
    except StorageError as error:
        problems.append(error.message)
    return problems


def _content_problems(layer: Layer, export: Callable[[str], BinaryIO]) -> list[str]:
    algorithm = layer.diff_id.partition(":")[0]
    try:
        import hashlib

        digest = hashlib.new(algorithm)
        with export(layer.id) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except (StorageError, OSError, ValueError) as error:
        return [str(error)]
    if f"{algorithm}:{digest.hexdigest()}" != layer.diff_id:
        return [f"its content is {algorithm}:{digest.hexdigest()}, not {layer.diff_id}"]
    return []


def _image_problems(images: ImageStore, image: Image) -> list[str]:
    problems = []
    for key in image.big_data_names:
        try:
            data = images.data.read(image.id, key)
        except StorageError:
            problems.append(f"its data {key!r} is missing")
            continue
        if len(data) != image.big_data_sizes.get(key, len(data)):
            problems.append(f"its data {key!r} has {len(data)} bytes")
        elif digest_of(key, data) != image.big_data_digests.get(key, digest_of(key, data)):
            problems.append(f"its data {key!r} has another digest")
    return problems
