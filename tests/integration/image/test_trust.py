"""policy.json between a registry and the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.image_ends import MemorySource
from tests.support.images import small_image
from tests.support.registry import TestRegistry
from tests.support.store import Peers

from trilby.errors import Refused, TrilbyError
from trilby.image.context import ImageContext
from trilby.image.copy import copy_image
from trilby.image.service import Images
from trilby.image.transport import open_destination, open_source
from trilby.image.transports.storage_write import StorageDestination


async def test_the_most_specific_scope_decides(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    for name in ("good", "bad"):
        place = f"docker://{registry.address}/{name}/app:1"
        writer = await open_destination(place, context)
        await copy_image(MemorySource(small_image(text=name)), writer)
        await writer.close()
    policy = {
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {f"{registry.address}/good": [{"type": "insecureAcceptAnything"}]},
            "dir": {"": [{"type": "insecureAcceptAnything"}]},
        },
    }
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy))
    strict = context.with_changes(insecure_policy=False, policy_path=str(path))
    good = await images.pull(f"{registry.address}/good/app:1", context=strict)
    with pytest.raises(Refused, match="Source image rejected"):
        await images.pull(f"{registry.address}/bad/app:1", context=strict)
    assert [image.id for image in images.list()] == [good.id]
    # The store itself is no stranger.
    assert await images.push(good.id, f"dir:{tmp_path / 'out'}", context=strict)


async def test_no_policy_is_no_permission(
    images: Images, context: ImageContext, tmp_path: Path
) -> None:
    strict = context.with_changes(insecure_policy=False, policy_path=str(tmp_path / "none"))
    with pytest.raises(TrilbyError, match="policy"):
        await images.pull(f"dir:{tmp_path}", context=strict)


async def test_signatures_are_kept_where_other_tools_find_them(
    images: Images, peers: Peers
) -> None:
    image = small_image()
    source = MemorySource(image)
    # By its first byte: an OpenPGP signature, as simple signing has them.
    source.signed["top"] = [b"\x90first", b"\x90the second"]
    destination = StorageDestination(images.store, None, more_names=("localhost/signed:1",))
    await copy_image(source, destination)
    await destination.close()
    listed = peers.skopeo("inspect", "--raw", peers.storage_reference("localhost/signed:1"))
    assert listed.encode() == image.manifest.data.strip()
    reader = await open_source(
        "containers-storage:localhost/signed:1", images.context, store=images.store
    )
    assert await reader.signatures() == source.signed["top"]
    # Again, unsigned: what is there stays.
    destination = StorageDestination(images.store, None, more_names=("localhost/again:1",))
    await copy_image(MemorySource(image), destination)
    await destination.close()
    again = await open_source(
        "containers-storage:localhost/again:1", images.context, store=images.store
    )
    assert await again.signatures() == source.signed["top"]


async def test_signatures_of_other_tools_are_read(
    images: Images, peers: Peers, tmp_path: Path
) -> None:
    image = small_image()
    writer = await open_destination(f"dir:{tmp_path / 'signed'}", images.context)
    source = MemorySource(image)
    source.signed["top"] = [b"\x90first", b"\x90the second"]
    await copy_image(source, writer)
    await writer.close()
    name = "localhost/theirs:1"
    peers.skopeo("copy", f"dir:{tmp_path / 'signed'}", peers.storage_reference(name))
    reader = await open_source(f"containers-storage:{name}", images.context, store=images.store)
    assert await reader.signatures() == source.signed["top"]
