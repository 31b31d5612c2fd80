"""What a copy changes, and what it refuses to change: formats, compression, digests, signatures."""

from __future__ import annotations

import gzip
import json

import pytest
from tests.support.image_ends import MemoryDestination, MemorySource
from tests.support.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    make_image,
    make_index,
    make_tar,
    sha256,
    small_image,
)

from trilby.image.compression import compressor
from trilby.image.copy import copy_image
from trilby.image.copy_errors import CannotModify, InvalidCompression
from trilby.image.copy_types import CopyOptions
from trilby.image.errors import UnsupportedImage
from trilby.image.transport import Capabilities
from trilby.oci.errors import NotConvertible
from trilby.oci.manifest import Manifest, parse_manifest


def image_written(destination: MemoryDestination) -> Manifest:
    found = parse_manifest(destination.manifests["top"])
    assert isinstance(found, Manifest)
    return found


async def test_docker_becomes_oci_where_only_that_is_taken() -> None:
    image = small_image(docker=True)
    destination = MemoryDestination(Capabilities(manifest_types=(OCI_MANIFEST, OCI_INDEX)))
    await copy_image(MemorySource(image), destination)
    written = image_written(destination)
    assert written.media_type == OCI_MANIFEST and written.config.media_type == OCI_CONFIG
    assert {layer.media_type for layer in written.layers} == {f"{OCI_LAYER}+gzip"}
    assert [str(layer.digest) for layer in written.layers] == [b.digest for b in image.layers]


async def test_a_forced_format() -> None:
    destination = MemoryDestination()
    result = await copy_image(MemorySource(small_image()), destination, CopyOptions(format="v2s2"))
    assert result.media_type == DOCKER_MANIFEST == image_written(destination).media_type


async def test_a_format_that_the_destination_does_not_take() -> None:
    destination = MemoryDestination(Capabilities(manifest_types=(OCI_MANIFEST,)))
    with pytest.raises(UnsupportedImage, match="accepts no manifest of type"):
        await copy_image(MemorySource(small_image()), destination, CopyOptions(format="v2s2"))
    assert not destination.blobs


async def test_an_index_and_its_images_are_converted_together() -> None:
    images = [small_image(platform=name) for name in ("linux/amd64", "linux/arm64")]
    source, destination = MemorySource(index=make_index(images)), MemoryDestination()
    for image in images:
        source.add(image)
    result = await copy_image(source, destination, CopyOptions(which="all", format="v2s2"))
    top = json.loads(result.raw)
    assert top["mediaType"] == DOCKER_LIST
    for entry, platform in zip(top["manifests"], ("amd64", "arm64"), strict=True):
        member = destination.manifests[entry["digest"]]
        assert sha256(member) == entry["digest"] and len(member) == entry["size"]
        assert entry["mediaType"] == json.loads(member)["mediaType"] == DOCKER_MANIFEST
        assert entry["platform"]["architecture"] == platform


async def test_zstd_layers_have_no_docker_form() -> None:
    source = MemorySource(small_image(compression="zstd"))
    with pytest.raises(NotConvertible) as caught:
        await copy_image(source, MemoryDestination(), CopyOptions(format="v2s2"))
    assert "OCI" in caught.value.hint
    assert source.log == ["manifest top"], "it must fail before the download"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_plain_layers_are_compressed_for_registries(compression: str) -> None:
    image = small_image(compression="")
    destination = MemoryDestination(Capabilities(layers="compress"))
    kind = "gzip" if compression == "gzip" else "zstd"
    options = CopyOptions(compression="" if kind == "gzip" else "zstd")
    await copy_image(MemorySource(image), destination, options)
    written = image_written(destination)
    for layer, tar in zip(written.layers, image.tars, strict=True):
        data = destination.blobs[str(layer.digest)]
        assert layer.size == len(data) and layer.media_type == f"{OCI_LAYER}+{kind}"
        assert unpacked(data, kind) == tar
    assert str(written.config.digest) == image.config.digest


def unpacked(data: bytes, kind: str) -> bytes:
    if kind == "gzip":
        return gzip.decompress(data)
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


async def test_layers_are_unpacked_for_archives() -> None:
    image = small_image()
    destination = MemoryDestination(Capabilities(layers="decompress"))
    await copy_image(MemorySource(image), destination)
    written = image_written(destination)
    assert [str(layer.digest) for layer in written.layers] == image.diff_ids
    assert {layer.media_type for layer in written.layers} == {OCI_LAYER}


async def test_recompression_drops_what_told_of_the_old_form() -> None:
    image = small_image()
    document = json.loads(image.manifest.data)
    document["layers"][0]["annotations"] = {
        "io.github.containers.zstd-chunked.manifest-checksum": "sha256:0",
        "org.example.kept": "yes",
    }
    source = MemorySource(image)
    source.top = json.dumps(document).encode()
    destination = MemoryDestination()
    await copy_image(source, destination, CopyOptions(compression="zstd", recompress=True))
    written = image_written(destination)
    assert written.layers[0].annotations == {"org.example.kept": "yes"}
    assert {layer.media_type for layer in written.layers} == {f"{OCI_LAYER}+zstd"}
    assert len(destination.blobs) == 1 + len(image.layers)


async def test_the_wanted_compression_is_kept() -> None:
    image = small_image()
    options = CopyOptions(compression="gzip", recompress=True)
    result = await copy_image(MemorySource(image), MemoryDestination(), options)
    assert result.raw == image.manifest.data


@pytest.mark.parametrize("options", [CopyOptions(preserve_digests=True, format="v2s2")])
async def test_preserved_digests_forbid_conversion(options: CopyOptions) -> None:
    destination = MemoryDestination()
    with pytest.raises(CannotModify, match="digests are to be preserved"):
        await copy_image(MemorySource(small_image()), destination, options)
    assert not destination.blobs


async def test_preserved_digests_keep_plain_layers_plain() -> None:
    image = small_image(compression="")
    destination = MemoryDestination(Capabilities(layers="compress"))
    options = CopyOptions(preserve_digests=True)
    result = await copy_image(MemorySource(image), destination, options)
    assert result.raw == image.manifest.data


async def test_a_pinned_destination_refuses_changes() -> None:
    destination = MemoryDestination(Capabilities(pinned=True, manifest_types=(OCI_MANIFEST,)))
    with pytest.raises(CannotModify, match="reference has a digest"):
        await copy_image(MemorySource(small_image(docker=True)), destination)


async def test_a_signed_image_is_not_changed_unnoticed() -> None:
    source = MemorySource(small_image())
    source.signed["top"] = [b"signature"]
    with pytest.raises(CannotModify, match="it is signed"):
        await copy_image(source, MemoryDestination(), CopyOptions(format="v2s2"))
    destination = MemoryDestination()
    options = CopyOptions(format="v2s2", remove_signatures=True)
    await copy_image(source, destination, options)
    assert destination.manifests and not destination.signed


async def test_levels() -> None:
    data = make_tar({"file": bytes(range(256)) * 4000})
    for level in (None, 0, 1, 3, 6, 9):
        squeezer = compressor("gzip", level)
        assert squeezer is not None
        assert gzip.decompress(squeezer.compress(data) + squeezer.flush()) == data
    assert compressor("", None) is None
    with pytest.raises(InvalidCompression, match="no level 10"):
        compressor("gzip", 10)
    with pytest.raises(InvalidCompression):
        compressor("zstd", 0)


async def test_a_damaged_layer_that_is_recompressed() -> None:
    image = make_image([make_tar({"file": bytes(100_000)})])
    source = MemorySource(image)
    source.blobs[image.layers[0].digest] = b"\x1f\x8b" + image.layers[0].data[2:-8] + bytes(8)
    with pytest.raises(Exception, match="layer|corrupt") as caught:
        await copy_image(
            source, MemoryDestination(), CopyOptions(compression="zstd", recompress=True)
        )
    assert getattr(caught.value, "exit_code", 0) == 6
