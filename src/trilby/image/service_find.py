"""Find an image of the store by what a person writes: podman's rules, in podman's order.

A full id or ``sha256:...``; a name, which for a short one means (in this order) its alias,
``localhost/``, the search registries, docker.io; a prefix of an id; and last the end of any name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trilby.image.copy_errors import AmbiguousImage
from trilby.image.errors import ImageNotFound, InvalidReference
from trilby.image.reference import Reference, has_domain, split_suffixes
from trilby.image.service_list import repository

if TYPE_CHECKING:
    from trilby.image.registries import Registries
    from trilby.storage.records import Image
    from trilby.storage.store import Store

_FULL_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_PREFIX = re.compile(r"[0-9a-f]{1,64}")

#: Called only when it matters: reading registries.conf takes longer than everything else here.
LoadRegistries = Callable[[], "Registries"]


class Found:
    """An image, and which of its names the person meant ("" if an id or a digest)."""

    __slots__ = ("image", "name")

    def __init__(self, image: Image, name: str = "") -> None:
        self.image = image
        self.name = name


def find(store: Store, text: str, registries: LoadRegistries) -> Found:
    """Raises ImageNotFound, AmbiguousImage."""
    text = text.removeprefix("containers-storage:")
    full = _FULL_ID.fullmatch(text)
    if full is not None:
        found = _by_full_id(store.images(), full.group(1))
    else:
        # An additional store may have an image of ours by another name.
        named = _by_name(store.image_records(), text, registries)
        found = named or _by_prefix(store.images(), text)
    if found is None:
        raise ImageNotFound(
            f"no image {text!r} in the store", hint="trilby image list shows what is there"
        )
    return found


def _by_full_id(images: Sequence[Image], encoded: str) -> Found | None:
    for image in images:
        if image.id == encoded:
            return Found(image)
    digest = f"sha256:{encoded}"
    return _only([image for image in images if digest in image.digests], digest)


def _by_prefix(images: Sequence[Image], text: str) -> Found | None:
    if not _PREFIX.fullmatch(text):
        return None
    return _only([image for image in images if image.id.startswith(text)], text)


def _by_name(images: Sequence[Image], text: str, registries: LoadRegistries) -> Found | None:
    try:
        name, tag, digest = split_suffixes(text)
        named = Reference.parse(text).with_default_tag()
    except InvalidReference:
        return None
    suffix = f"@{digest}" if digest is not None else f":{tag or 'latest'}"
    if has_domain(name):
        return _exact(images, named.name, suffix)
    ending = f"/{name}"
    matching = [
        repo
        for image in images
        for repo in map(repository, image.names)
        if repo.endswith(ending) and _exact([image], repo, suffix)
    ]
    # The order of registries only matters if there is a choice, or an alias renames the image.
    candidates = dict.fromkeys(matching)
    if len(candidates) != 1:
        from trilby.image.shortnames import local_candidates

        for meaning in local_candidates(text, registries()):
            if (found := _exact(images, meaning.name, suffix)) is not None:
                return found
    for candidate in candidates:
        return _exact(images, candidate, suffix)
    return None


def _exact(images: Sequence[Image], repo: str, suffix: str) -> Found | None:
    """The image called ``repo`` with a tag or digest; by digest any image of that repository."""
    wanted = repo + suffix
    for image in images:
        if wanted in image.names:
            return Found(image, wanted)
    if not suffix.startswith("@"):
        return None
    for image in images:
        if suffix[1:] in image.digests and repo in map(repository, image.names):
            return Found(image)
    return None


def _only(images: list[Image], text: str) -> Found | None:
    if len(images) > 1:
        shown = ", ".join(image.id[:12] for image in images[:4])
        raise AmbiguousImage(
            f"{text!r} fits {len(images)} images: {shown}", hint="write more of the id, or a name"
        )
    return Found(images[0]) if images else None
