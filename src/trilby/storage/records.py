"""The JSON records of layers, images, containers and mounts, field for field as on disk.

Format: containers/storage, ``layers.json``, ``images.json``, ``containers.json`` and
``mountpoints.json``. Records are values: change one with ``msgspec.structs.replace``.
Fields that these classes do not know are kept by ``recordfile``, which reads and writes them.
"""

from __future__ import annotations

from msgspec import Struct, field

UNKNOWN_TIME = "0001-01-01T00:00:00Z"

# What a tool may keep under a record's ``flags``: JSON, often bools and texts.
Flags = dict[str, object]

# Our own flag of a read-write layer: the ID of the container that it was made for.
CONTAINER_FLAG = "trilby-container"


class IDMap(Struct, frozen=True):
    """One range of a user or group ID mapping; all three are counts or IDs."""

    container_id: int
    host_id: int
    size: int


_LAYER_NAMES = {
    "mount_label": "mountlabel",
    "compressed_digest": "compressed-diff-digest",
    "compressed_size": "compressed-size",
    "diff_id": "diff-digest",
    "toc_digest": "toc-digest",
    "diff_size": "diff-size",
    "uids": "uidset",
    "gids": "gidset",
    "uid_map": "uidmap",
    "gid_map": "gidmap",
    "big_data_names": "big-data-names",
}

_IMAGE_NAMES = {
    "names_history": "names-history",
    "top_layer": "layer",
    "mapped_layers": "mapped-layers",
    "big_data_names": "big-data-names",
    "big_data_sizes": "big-data-sizes",
    "big_data_digests": "big-data-digests",
}

_CONTAINER_NAMES = {
    "image_id": "image",
    "layer_id": "layer",
    "big_data_names": "big-data-names",
    "big_data_sizes": "big-data-sizes",
    "big_data_digests": "big-data-digests",
    "uid_map": "uidmap",
    "gid_map": "gidmap",
}


class Layer(Struct, frozen=True, omit_defaults=True, rename=_LAYER_NAMES):
    """A layer. Sizes are bytes; ``diff_size`` -1 is "unknown"; digests are ``sha256:<hex>``."""

    id: str
    names: tuple[str, ...] = ()
    parent: str = ""
    metadata: str = ""
    mount_label: str = ""
    created: str = field(default_factory=lambda: UNKNOWN_TIME)
    compressed_digest: str = ""
    compressed_size: int = 0
    diff_id: str = ""
    toc_digest: str = ""
    diff_size: int = 0
    compression: int = 0
    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()
    flags: Flags = field(default_factory=dict)
    uid_map: tuple[IDMap, ...] = ()
    gid_map: tuple[IDMap, ...] = ()
    big_data_names: tuple[str, ...] = ()

    @property
    def incomplete(self) -> bool:
        """Whether somebody is making or deleting it, or died doing so."""
        return self.flags.get("incomplete") is True


class Image(Struct, frozen=True, omit_defaults=True, rename=_IMAGE_NAMES):
    """An image: names and big data (manifests, configuration, signatures) over a top layer."""

    id: str
    digest: str = ""
    names: tuple[str, ...] = ()
    names_history: tuple[str, ...] = ()
    top_layer: str = ""
    mapped_layers: tuple[str, ...] = ()
    metadata: str = ""
    big_data_names: tuple[str, ...] = ()
    big_data_sizes: dict[str, int] = field(default_factory=dict)
    big_data_digests: dict[str, str] = field(default_factory=dict)
    created: str = field(default_factory=lambda: UNKNOWN_TIME)
    flags: Flags = field(default_factory=dict)

    @property
    def digests(self) -> tuple[str, ...]:
        """Every manifest digest by which the image is found, the preferred one first."""
        found = [self.digest] if self.digest else []
        found += [
            digest for key, digest in self.big_data_digests.items() if key.startswith("manifest")
        ]
        return tuple(dict.fromkeys(found))


class Container(Struct, frozen=True, omit_defaults=True, rename=_CONTAINER_NAMES):
    """A container: a read-write layer over an image, with its owner's metadata."""

    id: str
    names: tuple[str, ...] = ()
    image_id: str = field(default_factory=str)
    layer_id: str = field(default_factory=str)
    metadata: str = ""
    big_data_names: tuple[str, ...] = ()
    big_data_sizes: dict[str, int] = field(default_factory=dict)
    big_data_digests: dict[str, str] = field(default_factory=dict)
    created: str = field(default_factory=lambda: UNKNOWN_TIME)
    uid_map: tuple[IDMap, ...] = ()
    gid_map: tuple[IDMap, ...] = ()
    flags: Flags = field(default_factory=dict)

    @property
    def volatile(self) -> bool:
        """Whether its record and content may be lost in a crash of the machine."""
        return self.flags.get("Volatile") is True


class MountPoint(Struct, frozen=True):
    """How many users a mounted layer has, and where it is mounted."""

    id: str
    path: str
    count: int


class Recovered(Struct, frozen=True):
    """What ``Store.recover`` removed: IDs of layers, paths of staging and of orphans."""

    layers: tuple[str, ...] = ()
    staging: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()


def format_time(ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC, as Go's encoder writes it."""
    from time import gmtime, strftime

    seconds, fraction = divmod(ns, 1_000_000_000)
    text = strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z" if fraction else f"{text}Z"


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time (any offset); 0 for an unknown time.

    Raises ValueError for anything else.
    """
    from datetime import datetime

    if text == UNKNOWN_TIME or not text:
        return 0
    main, offset = (text[:-1], "+00:00") if text.endswith(("Z", "z")) else (text[:-6], text[-6:])
    main, _, fraction = main.partition(".")
    seconds = int(datetime.fromisoformat(main + offset).timestamp())
    return seconds * 1_000_000_000 + int(f"{fraction:0<9}"[:9] if fraction else "0")


def now() -> str:
    """The present, as records hold it."""
    from time import time_ns

    return format_time(time_ns())
