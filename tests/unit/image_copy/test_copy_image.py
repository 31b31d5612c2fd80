"""The copy engine between ends in memory: order, checks, reuse, parallelism, clean-up."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.image_ends import MemoryDestination, MemorySource
from tests.support.images import (
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    SampleImage,
    make_image,
    make_index,
    make_tar,
    small_image,
)

from trilby.errors import Corrupt, InvalidInput, NotFound, Refused
from trilby.image.copy import copy_image
from trilby.image.copy_errors import OversizedDocument
from trilby.image.copy_types import CopyOptions, UnverifiedImage
from trilby.image.errors import CorruptImage, PolicyRefused, UnsupportedImage
from trilby.image.progress import BlobDone, BlobProgress, BlobStarted, CopyStarted, Event
from trilby.image.transport import MANIFEST_LIMIT, BlobRole, Capabilities
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.errors import NoMatchingPlatform
from trilby.oci.platform import parse


async def test_one_image_arrives_whole() -> None:
    image = small_image()
    source, destination = MemorySource(image), MemoryDestination()
    result = await copy_image(source, destination)
    assert destination.committed
    assert destination.manifests == {"top": image.manifest.data}
    assert destination.blobs == {
        digest: data for digest, data in image.blobs.items() if digest != image.manifest.digest
    }
    assert str(result.digest) == str(result.source_digest) == image.manifest.digest
    assert str(result.config) == image.config.digest
    assert result.transferred == sum(map(len, destination.blobs.values()))
    assert destination.order[0] == "config" and destination.order[-1] == "manifest"
    assert source.open_streams == 0


async def test_roles_tell_diff_ids_of_the_layer_and_below() -> None:
    image = small_image()
    destination = MemoryDestination()
    await copy_image(MemorySource(image), destination)
    role = destination.roles[image.layers[1].digest]
    assert (role.index, str(role.diff_id)) == (1, image.diff_ids[1])
    assert [str(digest) for digest in role.below] == image.diff_ids[:1]


async def test_the_gate_comes_before_anything_is_used() -> None:
    image = small_image()
    source = MemorySource(image, index=make_index([image]))
    seen: list[tuple[str, list[str]]] = []

    async def gate(unverified: UnverifiedImage) -> None:
        seen.append((str(unverified.instance or "top"), list(source.log)))

    await copy_image(source, MemoryDestination(), CopyOptions(gate=gate))
    top, instance = seen
    assert top == ("top", ["manifest top"])
    assert instance == (
        image.manifest.digest,
        ["manifest top", f"manifest {image.manifest.digest}"],
    )


async def test_a_refusing_gate_stops_everything() -> None:
    source, destination = MemorySource(small_image()), MemoryDestination()

    async def gate(unverified: UnverifiedImage) -> None:
        raise PolicyRefused("Source image rejected: no")

    with pytest.raises(Refused):
        await copy_image(source, destination, CopyOptions(gate=gate))
    assert source.log == ["manifest top"] and not destination.blobs and not destination.committed


async def test_signatures_reach_the_gate_and_the_destination() -> None:
    image = small_image()
    source, destination = MemorySource(image), MemoryDestination()
    source.signed["top"] = [b"signature"]
    seen: list[bytes] = []

    async def gate(unverified: UnverifiedImage) -> None:
        seen.extend(await unverified.signatures())

    await copy_image(source, destination, CopyOptions(gate=gate))
    assert seen == [b"signature"] and destination.signed == {"top": [b"signature"]}


async def test_what_is_there_is_not_fetched() -> None:
    image = small_image()
    source, destination = MemorySource(image), MemoryDestination()
    layer = image.layers[0]
    destination.present[layer.digest] = Descriptor(
        layer.media_type, Digest(layer.digest), len(layer.data)
    )
    events: list[Event] = []
    result = await copy_image(source, destination, CopyOptions(progress=events.append))
    assert f"blob {layer.digest}" not in source.log
    assert result.raw == image.manifest.data
    done = [event for event in events if isinstance(event, BlobDone) and event.reused]
    assert [str(event.digest) for event in done] == [layer.digest]


async def test_progress_adds_up() -> None:
    image = make_image([make_tar({"data": bytes(3_000_000)})], compression="")
    events: list[Event] = []
    await copy_image(MemorySource(image), MemoryDestination(), CopyOptions(progress=events.append))
    size = len(image.layers[0].data)
    steps = [event.done for event in events if isinstance(event, BlobProgress)]
    assert steps == sorted(steps) and steps[-1] == size and len(steps) < 20
    assert [type(event) for event in events[:2]] == [CopyStarted, BlobDone]
    assert sum(isinstance(event, BlobStarted) for event in events) == 1


async def test_layers_come_in_parallel_within_bounds() -> None:
    image = make_image([make_tar({f"file{number}": b"x" * 5000}) for number in range(9)])
    source, destination = MemorySource(image, chunk=50), MemoryDestination()
    await copy_image(source, destination, CopyOptions(parallel=4))
    assert destination.most == 4


@pytest.mark.parametrize("verifies", [True, False])
async def test_wrong_layer_bytes(verifies: bool) -> None:
    image = small_image()
    source = MemorySource(image)
    broken = bytearray(image.layers[0].data)
    broken[10] ^= 1
    source.blobs[image.layers[0].digest] = bytes(broken)
    destination = MemoryDestination(Capabilities(verifies=verifies))
    with pytest.raises(CorruptImage):
        await copy_image(source, destination)
    assert not destination.committed and source.open_streams == 0


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x"])
async def test_wrong_layer_length(change: object) -> None:
    assert callable(change)
    image = small_image()
    source = MemorySource(image)
    source.blobs[image.layers[0].digest] = change(image.layers[0].data)
    with pytest.raises(CorruptImage, match="bytes"):
        await copy_image(source, MemoryDestination())


async def test_wrong_config() -> None:
    image = small_image()
    source = MemorySource(image)
    source.blobs[image.config.digest] = image.config.data.replace(b"amd64", b"arm64")
    with pytest.raises(Corrupt, match="not those of the manifest"):
        await copy_image(source, MemoryDestination())


async def test_config_that_disagrees_about_the_layers() -> None:
    image = make_image([make_tar({})], diff_ids=["sha256:" + "0" * 64] * 2)
    with pytest.raises(CorruptImage, match="lists 2 layers, the manifest 1"):
        await copy_image(MemorySource(image), MemoryDestination())


async def test_missing_config() -> None:
    image = small_image()
    source = MemorySource(image)
    del source.blobs[image.config.digest]
    with pytest.raises(NotFound):
        await copy_image(source, MemoryDestination())


async def test_wrong_instance() -> None:
    image, other = small_image(), small_image(text="other")
    source = MemorySource(image, index=make_index([image]))
    source.blobs[image.manifest.digest] = other.manifest.data
    with pytest.raises(CorruptImage, match="have the digest"):
        await copy_image(source, MemoryDestination())


async def test_too_large_a_manifest() -> None:
    source = MemorySource(small_image())
    source.top = b" " * (MANIFEST_LIMIT + 1)
    with pytest.raises(OversizedDocument):
        await copy_image(source, MemoryDestination())


async def test_the_wanted_platform_is_chosen() -> None:
    images = [small_image(platform=name) for name in ("linux/amd64", "linux/arm64/v8")]
    source = MemorySource(index=make_index(images))
    for image in images:
        source.add(image)
    destination = MemoryDestination()
    options = CopyOptions(platform=parse("linux/arm64"))
    result = await copy_image(source, destination, options)
    assert destination.manifests == {"top": images[1].manifest.data}
    assert result.source_digest == Digest.of(source.top)
    with pytest.raises(NoMatchingPlatform, match="memory:source.*architecture s390x"):
        await copy_image(source, destination, CopyOptions(platform=parse("linux/s390x")))


async def test_all_platforms() -> None:
    images = [small_image(platform=name) for name in ("linux/amd64", "linux/arm64")]
    index = make_index(images)
    source, destination = MemorySource(index=index), MemoryDestination()
    for image in images:
        source.add(image)
    source.signed = {"top": [b"all"], images[1].manifest.digest: [b"one"]}
    result = await copy_image(source, destination, CopyOptions(which="all"))
    assert result.raw == index.data and destination.manifests["top"] == index.data
    assert set(destination.manifests) == {"top", *(image.manifest.digest for image in images)}
    assert destination.signed == source.signed


async def test_index_only() -> None:
    image = small_image()
    index = make_index([image])
    source, destination = MemorySource(image, index=index), MemoryDestination()
    await copy_image(source, destination, CopyOptions(which="index-only"))
    assert destination.manifests == {"top": index.data} and not destination.blobs


async def test_an_index_for_a_destination_of_one() -> None:
    image = small_image()
    source = MemorySource(image, index=make_index([image]))
    destination = MemoryDestination(Capabilities(multi_platform=False))
    with pytest.raises(UnsupportedImage, match="one platform only"):
        await copy_image(source, destination, CopyOptions(which="all"))
    await copy_image(source, destination)


def nested(levels: int) -> tuple[MemorySource, SampleImage]:
    image = small_image()
    index = make_index([image])
    source = MemorySource(image)
    for _ in range(levels - 1):
        source.blobs[index.digest] = index.data
        entry = index.descriptor(platform=image.platform)
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        index = Blob(OCI_INDEX, json.dumps(document).encode())
    source.top, source.media_type = index.data, index.media_type
    return source, image


async def test_an_index_in_an_index() -> None:
    source, image = nested(2)
    destination = MemoryDestination()
    await copy_image(source, destination)
    assert destination.manifests == {"top": image.manifest.data}
    with pytest.raises(InvalidInput, match="index that holds an index"):
        await copy_image(nested(3)[0], MemoryDestination())


async def test_a_failure_stops_the_other_layers() -> None:
    image = make_image([make_tar({f"file{number}": b"y" * 9000}) for number in range(4)])
    source, destination = MemorySource(image, chunk=10), MemoryDestination()
    del source.blobs[image.layers[3].digest]
    with pytest.raises(NotFound):
        await copy_image(source, destination)
    assert source.open_streams == 0 and destination.now == 0


async def test_cancelling_cleans_up() -> None:
    image = small_image()
    source, destination = MemorySource(image), MemoryDestination()
    source.gate = asyncio.Event()
    task = asyncio.ensure_future(copy_image(source, destination))
    for _ in range(100):
        await asyncio.sleep(0)
    assert destination.now == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.open_streams == 0 and destination.now == 0 and not destination.committed


async def test_an_artifact_is_copied_as_it_is() -> None:
    config = Blob("application/vnd.oci.empty.v1+json", b"{}")
    layer = Blob("application/vnd.example.thing", b"anything")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example",
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    }
    manifest = Blob(OCI_MANIFEST, json.dumps(document).encode())
    artifact = SampleImage(manifest, config, [layer], [], {})
    destination = MemoryDestination(Capabilities(layers="compress"))
    result = await copy_image(MemorySource(artifact), destination)
    assert result.raw == manifest.data
    role: BlobRole = destination.roles[layer.digest]
    assert role.diff_id is None and role.known
