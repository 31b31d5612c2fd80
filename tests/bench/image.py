"""The images of the benchmarks: made deterministically, pushed to a registry of the run's own."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from isal import isal_zlib
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, REF_NAME, write_large_layout

MEBIBYTE = 1 << 20
BIG_FILE = 600 * MEBIBYTE


def large_layout(work: Path) -> Path:
    """56 MB gzip, 200 MB, 10,000 files, 5 layers; kept if it is there."""
    return _made(work / "large", write_large_layout)


def big_layer_layout(work: Path) -> Path:
    """One layer with one file of 600 MB, 100 MB gzip; kept if it is there."""
    return _made(work / "big", _write_big)


def push(layout: Path, registry: str, name: str) -> str:
    """Copy it to the registry with skopeo, byte by byte; the image's full name."""
    target = f"{registry}/{name}:latest"
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests"]
    command += ["--dest-tls-verify=false", f"oci:{layout}:latest", f"docker://{target}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


def describe(layout: Path) -> str:
    """Layers and compressed size of a layout's image."""
    index = json.loads((layout / "index.json").read_text())
    top = index["manifests"][0]["digest"].partition(":")[2]
    manifest = json.loads((layout / "blobs/sha256" / top).read_text())
    size = sum(layer["size"] for layer in manifest["layers"])
    return f"{len(manifest['layers'])} layer(s), {size / 1e6:.1f} MB compressed"


def _made(path: Path, write: object) -> Path:
    if not (path / "index.json").exists():
        assert callable(write)
        write(path)
    return path


def _pieces(size: int) -> Iterator[bytes]:
    """A file's content: a sixth noise, the rest compresses well."""
    chance = random.Random(7)
    words = b" ".join(chance.randbytes(6).hex().encode() for _ in range(1500)) * 60
    for start in range(0, size, MEBIBYTE):
        noise = chance.randbytes(160_000)
        piece = noise + words[: MEBIBYTE - len(noise)]
        yield piece[: size - start]


def _tar(size: int) -> Iterator[bytes]:
    info = tarfile.TarInfo("srv/one-big-file")
    info.size, info.mtime = size, 1_700_000_000
    yield info.tobuf(tarfile.PAX_FORMAT)
    yield from _pieces(size)
    yield bytes(-size % 512 + 1024)


def _write_big(path: Path) -> None:
    """Streamed: the benchmark itself needs little memory."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    plain, packed, length = hashlib.sha256(), hashlib.sha256(), 0
    squeezer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
    with (blobs / "layer").open("wb") as file:

        def write(data: bytes) -> int:
            packed.update(data)
            return file.write(data)

        for piece in _tar(BIG_FILE):
            plain.update(piece)
            length += write(squeezer.compress(piece))
        length += write(squeezer.flush())
    (blobs / "layer").rename(blobs / packed.hexdigest())

    def add(document: object, kind: str) -> dict[str, object]:
        raw = json.dumps(document).encode()
        name = hashlib.sha256(raw).hexdigest()
        (blobs / name).write_bytes(raw)
        return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(raw)}

    diff_ids = [f"sha256:{plain.hexdigest()}"]
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    layer = {"mediaType": f"{OCI_LAYER}+gzip", "digest": f"sha256:{packed.hexdigest()}"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": add(config, OCI_CONFIG),
        "layers": [layer | {"size": length}],
    }
    top = add(manifest, OCI_MANIFEST) | {"annotations": {REF_NAME: "latest"}}
    index = {"schemaVersion": 2, "manifests": [top]}
    (path / "index.json").write_text(json.dumps(index))
