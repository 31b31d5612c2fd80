"""The image store: records of images and their big data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from trilby.storage.bigdata import BigData, digest_of
from trilby.storage.errors import ImageNotFound
from trilby.storage.recordfile import RecordFile
from trilby.storage.records import Image
from trilby.storage.recordstore import RecordStore, Snapshot

_DECODER = msgspec.json.Decoder(list[Image])
Images = Snapshot[Image]


class ImageStore:
    """The images of one store: the primary one, or an additional one that is only read."""

    def __init__(self, graphroot: str, driver_name: str, *, read_only: bool = False) -> None:
        self.directory = os.path.join(graphroot, f"{driver_name}-images")
        self.records = RecordStore(
            os.path.join(self.directory, "images.lock"),
            RecordFile(os.path.join(self.directory, "images.json"), _DECODER),
            read_only=read_only,
        )
        self.data = BigData(self.directory)

    def add_data(self, image: Image, data: Mapping[str, bytes]) -> Image:
        """Write big data and give the record that knows it; within ``records.writing``."""
        for key, value in data.items():
            self.data.write(image.id, key, value)
        return described(image, data)


def described(image: Image, data: Mapping[str, bytes]) -> Image:
    """The record with the names, sizes and digests of more data."""
    digests = {key: digest_of(key, value) for key, value in data.items()}
    updated = replace(
        image,
        big_data_names=tuple(dict.fromkeys([*image.big_data_names, *data])),
        big_data_sizes=image.big_data_sizes | {key: len(value) for key, value in data.items()},
        big_data_digests=image.big_data_digests | digests,
    )
    if not updated.digest and "manifest" in digests:
        updated = replace(updated, digest=digests["manifest"])
    return updated


def renamed(images: Images, image: Image, names: Iterable[str]) -> Images:
    """The images with ``image`` having exactly these names, taken from whoever had them."""
    wanted = tuple(dict.fromkeys(names))
    changed = images
    for other in images.records:
        if other.id != image.id and not set(wanted).isdisjoint(other.names):
            left = tuple(name for name in other.names if name not in wanted)
            changed = changed.with_record(replace(other, names=left))
    history = tuple(dict.fromkeys([*wanted, *image.names, *image.names_history]))
    return changed.with_record(replace(image, names=wanted, names_history=history))


def need(images: Images, ref: str, doing: str) -> Image:
    """The image, or ImageNotFound."""
    image = images.find(ref)
    if image is None:
        raise ImageNotFound(f"{doing}: there is no image {ref!r}")
    return image
