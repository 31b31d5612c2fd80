"""Platforms: ours, the one that text names, and the best one in an index."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from trilby.oci.descriptor import Descriptor, Platform
from trilby.oci.errors import InvalidPlatform, NoMatchingPlatform

if TYPE_CHECKING:
    from collections.abc import Sequence

# Kernel and distribution names for what Go (and so every image) calls otherwise.
_MACHINES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v7"),
    "loongarch64": ("loong64", ""),
}
# Newest first: code for a later one does not run on an earlier one.
_VARIANTS = {
    "arm": ("v8", "v7", "v6", "v5"),
    "arm64": ("v9", "v8"),
    "amd64": ("v4", "v3", "v2", "v1"),
}
# What a machine of which nothing more is known can run.
_BASELINE = {"arm": "v8", "arm64": "v8", "amd64": "v1"}

ZSTD_ANNOTATION = "io.github.containers.compression.zstd"


def host_platform() -> Platform:
    """The platform that this process runs on."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    if architecture == "arm64" and sys.maxsize < 2**32:
        architecture, variant = "arm", "v7"
    elif architecture == "amd64" and sys.maxsize < 2**32:
        architecture = "386"
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse(text: str) -> Platform:
    """``os/architecture[/variant]``, or an architecture alone; raises InvalidPlatform."""
    parts = text.strip().lower().split("/")
    if not all(parts) or len(parts) > 3:
        raise InvalidPlatform(
            f"invalid platform {text!r}", hint="write os/architecture[/variant], like linux/arm64"
        )
    system, rest = ("linux", parts) if len(parts) == 1 else (parts[0], parts[1:])
    architecture, variant = _MACHINES.get(rest[0], (rest[0], ""))
    if len(rest) == 2:
        variant = rest[1]
    return Platform(os=system, architecture=architecture, variant=variant)


def variants(wanted: Platform) -> tuple[str, ...]:
    """The variants that satisfy a wish, best first."""
    ordered = _VARIANTS.get(wanted.architecture)
    if not wanted.variant:
        if ordered is None:
            return ("",)
        return ("", *ordered[ordered.index(_BASELINE[wanted.architecture]) :])
    if ordered is None or wanted.variant not in ordered:
        return (wanted.variant, "")
    return (*ordered[ordered.index(wanted.variant) :], "")


def match(candidate: Platform | None, wanted: Platform) -> bool:
    """Whether something for ``candidate`` runs on ``wanted``."""
    return (
        candidate is not None
        and candidate.os == wanted.os
        and candidate.architecture == wanted.architecture
        and candidate.variant in variants(wanted)
    )


def choose(
    manifests: Sequence[Descriptor],
    wanted: Platform | None = None,
    *,
    prefer_gzip: bool = False,
    unnamed: bool = False,
) -> Descriptor:
    """The manifest of an index for a platform (default: ours); raises NoMatchingPlatform.

    The best variant wins, then (unless ``prefer_gzip``) one with zstd layers, then the first. With
    ``unnamed`` a manifest that names no platform, which OCI's indexes need not, is the last choice.
    """
    wanted = wanted or host_platform()
    order = variants(wanted)
    best: tuple[int, bool, int] | None = None
    for position, candidate in enumerate(manifests):
        platform = candidate.platform
        if platform is None and unnamed:
            variant = len(order)
        elif platform is not None and match(platform, wanted):
            variant = order.index(platform.variant)
        else:
            continue
        zstd = candidate.annotations.get(ZSTD_ANNOTATION) == "true"
        rank = (variant, zstd == prefer_gzip, position)
        if best is None or rank < best:
            best = rank
    if best is not None:
        return manifests[best[2]]
    offered = sorted({str(item.platform) for item in manifests if item.platform})
    raise NoMatchingPlatform(
        f"no image found for os {wanted.os}, architecture {wanted.architecture}"
        + (f", variant {wanted.variant}" if wanted.variant else ""),
        hint=f"the index offers: {', '.join(offered) or 'no platform at all'}",
    )
