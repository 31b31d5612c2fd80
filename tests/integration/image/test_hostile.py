"""Pulls from a registry that drops connections and lies: whole or not at all."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.integration.image.test_bad_images import assert_empty, snapshot
from tests.support.hostile_registry import Drop, Endless, Fault, HostileRegistry, Status
from tests.support.images import SampleImage, make_image, make_tar

from trilby.errors import TrilbyError
from trilby.image.service import Images

DATA = random.Random(2).randbytes(5_000_000)


def serve(registry: HostileRegistry) -> tuple[str, SampleImage]:
    image = make_image([make_tar({"a": b"a"}), make_tar({"data": DATA})])
    for data in image.blobs.values():
        registry.add_blob(data)
    registry.add_manifest("app", "1", image.manifest.data, image.manifest.media_type)
    return f"{registry.address}/app:1", image


async def test_a_dropped_blob_is_resumed(images: Images) -> None:
    async with HostileRegistry() as registry:
        name, image = serve(registry)
        registry.fault(Drop(after=3_000_000), path=image.layers[1].digest, times=1)
        pulled = await images.pull(name)
        assert pulled.id == image.config.digest[7:]
        assert registry.count(image.layers[1].digest) >= 2


@pytest.mark.parametrize("fault", [Endless(), Drop(after=1000), Status(404)])
async def test_a_blob_that_never_comes_whole(fault: Fault, images: Images) -> None:
    before = snapshot(images.store.config.graphroot)
    async with HostileRegistry() as registry:
        name, image = serve(registry)
        registry.fault(fault, path=image.layers[1].digest)
        with pytest.raises(TrilbyError) as caught:
            await asyncio.wait_for(images.pull(name), 30)
        assert image.layers[1].digest[:15] in str(caught.value)
    assert_empty(images.store, before)


async def test_twenty_who_ask_cost_one_download(images: Images) -> None:
    async with HostileRegistry() as registry:
        name, image = serve(registry)
        pulled = await asyncio.gather(*(images.pull(name) for _ in range(20)))
        assert len({each.id for each in pulled}) == 1
        for blob in (*image.layers, image.config):
            assert registry.count(blob.digest, "GET") == 1
        await images.pull(name, "always")
        for blob in (*image.layers, image.config):
            assert registry.count(blob.digest, "GET") == 1
