"""What a node runs, as a file that other nodes are compared with or installed by.

The format is in docs/FORMATS.md. Everything is text, sorted, one fact a line, so that two files can
be compared by eye and by diff(1).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.cluster.component import MANIFESTS
from trilby.node.errors import LockUnusable
from trilby.node.facts import digest_of, facts_of

if TYPE_CHECKING:
    from trilby.node.node import Node
    from trilby.storage.records import Image

__all__ = ["SECTIONS", "Difference", "Lock", "compare", "decode", "encode", "lock_of"]

FORMAT: Final = 1
SECTIONS: Final = ("system", "programs", "packages", "images", "files")
#: Packages that pods depend on; those of a desktop do not make two nodes different.
PACKAGES: Final = (
    *("trilby*", "python3-trilby*", "crun*", "runc", "conmon", "catatonit", "criu"),
    *("containernetworking-plugins", "containers-common*", "container-selinux"),
    *("cri-o*", "cri-tools*", "containerd*", "kubernetes*", "kubeadm", "kubectl", "kubelet"),
    *("etcd", "iptables*", "nftables"),
    *("python3-aiohttp", "python3-grpcio*", "python3-isal", "python3-msgspec"),
    *("python3-protobuf", "python3-pysequoia", "python3-pyyaml", "python3-zstandard"),
)  # fmt: skip
DRIVERS: Final = ("overlay", "vfs")

Table = Mapping[str, str]


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """Each section is a name with a value.

    ``system``: os, kernel. ``programs``: versions as they say them. ``packages``:
    EPOCH:VERSION-RELEASE.ARCH of RPMs. ``images``: the digest by which a registry has the name.
    ``files``: SHA-256 of configuration.
    """

    format: int = FORMAT
    system: Table
    programs: Table
    packages: Table
    images: Table
    files: Table


class Difference(msgspec.Struct, frozen=True):
    """``locked`` or ``found`` is "" where one side has nothing."""

    section: str
    name: str
    locked: str
    found: str

    @property
    def text(self) -> str:
        """In words."""
        if not self.found:
            return f"{self.section}: {self.name} is not there, locked is {self.locked}"
        if not self.locked:
            return f"{self.section}: {self.name} is {self.found}, and not locked"
        return f"{self.section}: {self.name} is {self.found}, locked is {self.locked}"


def lock_of(node: Node) -> Lock:
    """What the host runs now. Raises OSError, ValueError for a store that cannot be read."""
    facts = facts_of(node)
    return Lock(
        system={name: facts["host"][name] for name in ("os", "kernel") if name in facts["host"]},
        programs=facts["versions"],
        packages=_packages(node),
        images={name: _registry_digest(image) for name, image in _images(node).items()},
        files={**facts["files"], **_manifests(node)},
    )


def _packages(node: Node) -> dict[str, str]:
    """Those of PACKAGES; of several versions of one all are told."""
    found: dict[str, list[str]] = {}
    for line in node.host.packages().text.splitlines():
        name, _, version = line.partition("\t")
        if version and any(fnmatch.fnmatchcase(name, pattern) for pattern in PACKAGES):
            found.setdefault(name, []).append(version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _images(node: Node) -> dict[str, Image]:
    """By each name with a tag."""
    from trilby.storage.records import Image

    found = {}
    for driver in DRIVERS:
        text = node.host.read(f"{node.settings.storage.graphroot}/{driver}-images/images.json")
        for image in msgspec.json.decode(text.encode(), type=list[Image]) if text else ():
            found.update({name: image for name in image.names if "@" not in name})
    return found


def _registry_digest(image: Image) -> str:
    """Of an index if the store has one: that is what registries give under the name."""
    others = sorted(digest for digest in image.digests if digest != image.digest)
    return others[0] if others else image.digest


def _manifests(node: Node) -> dict[str, str]:
    """Static pods are configuration, too: the control plane is nothing else."""
    found = {}
    for name in node.host.names(MANIFESTS):
        if name.endswith((".yaml", ".yml", ".json")):
            path = f"{MANIFESTS}/{name}"
            found[path] = digest_of((node.host.read(path) or "").encode())
    return found


def encode(lock: Lock) -> bytes:
    """JSON with sorted names, one fact a line."""
    document = {
        name: dict(sorted(value.items())) if isinstance(value, dict) else value
        for name, value in msgspec.structs.asdict(lock).items()
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode(data: bytes, path: str) -> Lock:
    """Raises LockUnusable."""
    try:
        found = msgspec.json.decode(data, type=Lock)
    except msgspec.DecodeError as error:
        raise LockUnusable(
            f"{path} is no lock file: {error}", hint="make one: trilby node lock"
        ) from None
    if found.format != FORMAT:
        raise LockUnusable(
            f"{path} has format {found.format}; this version reads {FORMAT}",
            hint="make it anew: trilby node lock",
        )
    return found


def compare(locked: Lock, found: Lock, sections: Iterable[str] = SECTIONS) -> list[Difference]:
    """What differs, section by section.

    Further images are no difference: they come and go with pods.
    """
    differences = []
    for section in sections:
        old: Table = getattr(locked, section)
        new: Table = getattr(found, section)
        names = old if section == "images" else {**old, **new}
        differences += [
            Difference(section, name, old.get(name, ""), new.get(name, ""))
            for name in sorted(names)
            if old.get(name, "") != new.get(name, "")
        ]
    return differences
