"""Images for tests, built as OCI layouts or in memory, deterministic to the byte."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

REF_NAME = "org.opencontainers.image.ref.name"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Blob(NamedTuple):
    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return sha256(self.data)

    def descriptor(self, **more: object) -> dict[str, object]:
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.data),
            **more,
        }


class SampleImage(NamedTuple):
    """One image in memory. ``tars`` are its layers uncompressed."""

    manifest: Blob
    config: Blob
    layers: list[Blob]
    tars: list[bytes]
    platform: dict[str, str]

    @property
    def blobs(self) -> dict[str, bytes]:
        return {blob.digest: blob.data for blob in (self.manifest, self.config, *self.layers)}

    @property
    def diff_ids(self) -> list[str]:
        return [sha256(tar) for tar in self.tars]


def make_tar(entries: Mapping[str, bytes | str | None]) -> bytes:
    """A layer: bytes are files, text is a symlink's target, None is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.mtime = 1_700_000_000
            info.mode = 0o755
            if content is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def compress(data: bytes, kind: str = "gzip") -> bytes:
    if kind == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if kind == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=3).compress(data)
    assert kind == "", kind
    return data


def make_image(
    tars: Iterable[bytes],
    *,
    compression: str = "gzip",
    docker: bool = False,
    platform: str = "linux/amd64",
    config: Mapping[str, object] | None = None,
    diff_ids: list[str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> SampleImage:
    """An image of these layers, lowest first; ``config`` goes into the config's ``config``."""
    tars = list(tars)
    system, architecture, *variant = platform.split("/")
    names = {"os": system, "architecture": architecture}
    if variant:
        names["variant"] = variant[0]
    document: dict[str, object] = {
        "created": "2024-01-02T03:04:05.678901234Z",
        **names,
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": diff_ids or [sha256(tar) for tar in tars]},
        "history": [
            {"created": "2024-01-02T03:04:05Z", "created_by": f"layer {number}"}
            for number in range(len(tars))
        ],
    }
    suffix = {"": "", "gzip": "+gzip", "zstd": "+zstd"}[compression]
    layer_type = DOCKER_LAYER_GZIP if docker else OCI_LAYER + suffix
    layers = [Blob(layer_type, compress(tar, compression)) for tar in tars]
    config_blob = Blob(DOCKER_CONFIG if docker else OCI_CONFIG, json.dumps(document).encode())
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": config_blob.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    raw = json.dumps(manifest, indent=2).encode()
    kind = DOCKER_MANIFEST if docker else OCI_MANIFEST
    return SampleImage(Blob(kind, raw), config_blob, layers, tars, names)


def make_index(images: Iterable[SampleImage], *, docker: bool = False) -> Blob:
    kind = DOCKER_LIST if docker else OCI_INDEX
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [image.manifest.descriptor(platform=image.platform) for image in images],
    }
    return Blob(kind, json.dumps(document, indent=2).encode())


def small_image(
    *,
    text: str = "hello",
    compression: str = "gzip",
    docker: bool = False,
    platform: str = "linux/amd64",
) -> SampleImage:
    """Three small layers: with a whiteout, a link, and an empty one that occurs twice in a row."""
    return make_image(
        [
            make_tar({"etc/": None, "etc/motd": text.encode(), "etc/old": b"old", "bin/": None}),
            make_tar({"etc/.wh.old": b"", "bin/sh": b"#!/bin/true\n", "bin/bash": "sh"}),
            make_tar({}),
        ],
        compression=compression,
        docker=docker,
        platform=platform,
    )


def write_layout(
    path: Path, images: Mapping[str, SampleImage | tuple[Blob, list[SampleImage]]]
) -> Path:
    """An OCI layout with these images, or indexes with their images, by reference name."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    manifests: list[dict[str, object]] = []
    for name, item in images.items():
        top, members = (item.manifest, [item]) if isinstance(item, SampleImage) else item
        contents = {top.digest: top.data}
        for member in members:
            contents |= member.blobs
        for digest, data in contents.items():
            (blobs / digest.partition(":")[2]).write_bytes(data)
        manifests.append(top.descriptor(annotations={REF_NAME: name} if name else {}))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    (path / "index.json").write_text(json.dumps(index))
    return path


def large_tars(
    *, layers: int = 5, files: int = 10_000, size: int = 200_000_000, seed: int = 1
) -> Iterator[bytes]:
    """Layers like a distribution's: many small files, few large ones; shrinks to about 28 per cent."""
    chance = random.Random(seed)
    per_layer = files // layers
    words = [chance.randbytes(12).hex() for _ in range(400)]
    prose = " ".join(chance.choice(words) for _ in range(40_000)).encode()
    for layer in range(layers):
        weights = [chance.paretovariate(1.2) for _ in range(per_layer)]
        scale = size / layers / sum(weights)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for number, weight in enumerate(weights):
                if number % 50 == 0:
                    folder = tarfile.TarInfo(f"usr/share/l{layer}/d{number // 50:03}")
                    folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, 1_600_000_000
                    tar.addfile(folder)
                info = tarfile.TarInfo(f"{folder.name}/file-{number:05}.dat")
                info.size = min(int(weight * scale), 8_000_000)
                info.mtime = 1_600_000_000 + number
                tar.addfile(info, io.BytesIO(_content(chance, prose, info.size)))
        yield out.getvalue()


def _content(chance: random.Random, prose: bytes, size: int) -> bytes:
    noise = chance.randbytes(size * 165 // 1000)
    start = chance.randrange(len(prose))
    text = (prose[start:] + prose * (size // len(prose) + 1))[: size - len(noise)]
    return noise + text


def write_large_layout(path: Path, name: str = "latest", **shape: int) -> Path:
    """The image of the speed goals (56 MB gzip, 200 MB, 10,000 files, 5 layers) as a layout.

    Layers are written one by one, so that the tests need little memory.
    """
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def write(blob: Blob) -> dict[str, object]:
        (blobs / blob.digest.partition(":")[2]).write_bytes(blob.data)
        return blob.descriptor()

    diff_ids: list[str] = []
    layers: list[dict[str, object]] = []
    for tar in large_tars(**shape):
        diff_ids.append(sha256(tar))
        squeezer = zlib.compressobj(6, zlib.DEFLATED, 31)
        layers.append(write(Blob(OCI_LAYER + "+gzip", squeezer.compress(tar) + squeezer.flush())))
    config = {
        "created": "2024-01-02T03:04:05Z",
        "os": "linux",
        "architecture": "amd64",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": write(Blob(OCI_CONFIG, json.dumps(config).encode())),
        "layers": layers,
    }
    top = write(Blob(OCI_MANIFEST, json.dumps(manifest).encode()))
    top["annotations"] = {REF_NAME: name}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [top]}
    (path / "index.json").write_text(json.dumps(index))
    return path
