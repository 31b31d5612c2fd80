"""The smallest image that every tool accepts, as a ``dir:`` directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trilby.oci import media
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.image import ImageConfig
from trilby.oci.manifest import Manifest, make_manifest


def write_dir_image(folder: Path, signatures: Sequence[bytes] = ()) -> Manifest:
    """An image without layers, and its signatures."""
    folder.mkdir()
    config = ImageConfig(architecture="amd64", os="linux").encode()
    digest = Digest.of(config)
    manifest = make_manifest(Descriptor(media.OCI_CONFIG, digest, len(config)), [])
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(manifest.raw)
    (folder / digest.encoded).write_bytes(config)
    for number, blob in enumerate(signatures, start=1):
        (folder / f"signature-{number}").write_bytes(blob)
    return manifest
