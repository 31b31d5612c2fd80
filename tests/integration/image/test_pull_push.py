"""Pull from a real registry, push to it, and let podman and skopeo look at the result."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Literal

import pytest
from tests.support.images import (
    SampleImage,
    make_image,
    make_index,
    make_tar,
    small_image,
    write_layout,
)
from tests.support.registry import TestRegistry
from tests.support.store import Peers, busybox_layer

from trilby.errors import NotFound
from trilby.image.context import ImageContext
from trilby.image.copy import copy_image
from trilby.image.copy_types import CopyOptions
from trilby.image.progress import BlobDone, Event
from trilby.image.service import Images, PullPolicy
from trilby.image.transport import open_destination, open_source
from trilby.oci.platform import parse
from trilby.storage.store import Store


async def publish(
    layout: Path, name: str, registry: TestRegistry, context: ImageContext, path: str
) -> str:
    """Copy an image (or an index with all its images) into the registry; its name there."""
    place = f"{registry.address}/{path}"
    source = await open_source(f"oci:{layout}:{name}", context)
    destination = await open_destination(f"docker://{place}", context)
    await copy_image(source, destination, CopyOptions(which="all"))
    await destination.close()
    await source.close()
    return place


async def published(
    tmp_path: Path, registry: TestRegistry, context: ImageContext, image: SampleImage, path: str
) -> str:
    layout = write_layout(tmp_path / "layout", {"x": image})
    return await publish(layout, "x", registry, context, path)


async def test_a_pulled_image_is_podmans_own(
    images: Images, peers: Peers, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    base, top = busybox_layer(), make_tar({"etc/motd": b"ours\n", "bin/.wh.rm": b""})
    image = make_image([base, top], config={"Cmd": ["cat", "/etc/motd"]})
    name = await published(tmp_path, registry, context, image, "team/app:1")
    pulled = await images.pull(name)
    assert pulled.changed and pulled.name == name and pulled.digest == image.manifest.digest
    assert pulled.id == image.config.digest[7:]
    [listed] = json.loads(peers.podman("images", "--format", "json"))
    assert listed["Id"] == pulled.id and listed["Names"] == [name]
    assert listed["Digest"] == image.manifest.digest
    assert peers.run("--rm", name) == "ours"
    out = tmp_path / "out"
    peers.skopeo("copy", peers.storage_reference(name), f"dir:{out}")
    for digest, tar in zip(image.diff_ids, image.tars, strict=True):
        assert (out / digest[7:]).read_bytes() == tar
    inspected = json.loads(peers.podman("image", "inspect", name))[0]
    ours = images.inspect(name)
    for key in ("Id", "Digest", "RepoTags", "RepoDigests", "Architecture", "Os", "Size", "RootFS"):
        assert ours[key] == inspected[key], key
    for key in ("Config", "ManifestType", "GraphDriver", "NamesHistory", "Created", "User"):
        assert ours[key] == inspected[key], key
    assert [entry.size for entry in images.history(name)] == [len(top), len(base)]


async def test_what_skopeo_and_we_record_is_the_same(
    images: Images,
    peers: Peers,
    other: Peers,
    registry: TestRegistry,
    context: ImageContext,
    tmp_path: Path,
) -> None:
    pair = [small_image(platform=name) for name in ("linux/amd64", "linux/arm64")]
    layout = write_layout(tmp_path / "layout", {"x": (make_index(pair), pair)})
    name = await publish(layout, "x", registry, context, "multi:1")
    await images.pull(name)
    other.skopeo(
        "copy", "--src-tls-verify=false", f"docker://{name}", other.storage_reference(name)
    )
    ours, theirs = (
        json.loads((place.graphroot / "overlay-images/images.json").read_text())[0]
        for place in (peers, other)
    )
    for key in ("id", "digest", "names", "names-history", "layer", "created"):
        assert ours[key] == theirs[key], key
    # skopeo also keeps an empty list of signatures.
    ours_keys = [key for key in theirs["big-data-names"] if not key.startswith("signature")]
    assert ours["big-data-names"] == ours_keys
    for one, two in zip(
        *(
            json.loads((place.graphroot / "overlay-layers/layers.json").read_text())
            for place in (peers, other)
        ),
        strict=True,
    ):
        assert one | {"created": ""} == two | {"created": ""}


async def test_nothing_is_fetched_twice(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    shared = make_tar({"base": b"b" * 5000})
    first = make_image([shared, make_tar({"one": b"1"})])
    # The shared layer comes again on top of another one, and twice.
    second = make_image([make_tar({"two": b"2"}), shared, shared])
    one = await published(tmp_path / "a", registry, context, first, "one:1")
    two = await published(tmp_path / "b", registry, context, second, "two:1")
    await images.pull(one)
    events: list[Event] = []
    await images.pull(two, progress=events.append)
    done = {event.index: event.reused for event in events if isinstance(event, BlobDone)}
    assert done == {-1: False, 0: False, 1: True, 2: True}
    events.clear()
    again = await images.pull(two, "always", progress=events.append)
    assert not again.changed
    assert all(event.reused for event in events if isinstance(event, BlobDone) and event.index >= 0)
    store = images.store
    chain = store.image(two)
    assert chain is not None
    with store.export_layer(chain.top_layer) as stream:
        assert stream.read() == shared


async def test_one_pull_for_all_who_ask(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    name = await published(tmp_path, registry, context, small_image(text="many"), "many:1")
    before = registry.log().count("GET /v2/many/blobs") if "GET" in registry.log() else 0
    seen: list[list[Event]] = [[] for _ in range(10)]
    results = await asyncio.gather(
        *(images.pull(name, "always", progress=events.append) for events in seen)
    )
    assert len(set(results)) == 1
    assert all(len(events) == len(seen[0]) > 0 for events in seen)
    assert before >= 0


async def test_policies(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="never"):
        await images.pull("busybox", "never")
    name = await published(tmp_path / "a", registry, context, small_image(text="old"), "policy:1")
    old = await images.pull(name)
    assert (await images.pull(name, "newer")).digest == old.digest
    await published(tmp_path / "b", registry, context, small_image(text="new"), "policy:1")
    policies: tuple[PullPolicy, ...] = ("missing", "never")
    for policy in policies:
        same = await images.pull(name, policy)
        assert (same.id, same.changed, same.digest) == (old.id, False, "")
    new = await images.pull(name, "newer")
    assert new.changed and new.id != old.id
    assert images.find(old.id).names == () and images.find(old.id).names_history == (name,)
    assert (await images.pull(name, "always")).changed is False


async def test_short_names_and_their_failures(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    name = await published(tmp_path, registry, context, small_image(), "library/short:1")
    assert context.registries_conf is not None
    Path(context.registries_conf).write_text(
        f'unqualified-search-registries = ["127.0.0.1:1", "{registry.address}"]\n'
        f'short-name-mode = "permissive"\n[aliases]\n"known" = "{name.rpartition(":")[0]}"\n'
    )
    pulled = await images.pull("library/short:1")
    assert pulled.name == name
    assert (await images.pull("known:1", "always")).name == name
    assert images.find("short:1").id == images.find("known:1").id == pulled.id
    with pytest.raises(Exception, match="2 candidates were tried") as caught:
        await images.pull("library/short:2")
    text = str(caught.value)
    assert "127.0.0.1:1/library/short:2" in text and f"{registry.address}/library/short:2" in text


async def test_other_platforms(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    pair = [small_image(platform=name) for name in ("linux/amd64", "linux/arm64")]
    layout = write_layout(tmp_path / "layout", {"x": (make_index(pair), pair)})
    name = await publish(layout, "x", registry, context, "platforms:1")
    arm = context.with_changes(platform=parse("linux/arm64"))
    assert (await images.pull(name, context=arm)).id == pair[1].config.digest[7:]
    assert images.config(name).architecture == "arm64"
    assert (await images.pull(name, context=arm)).changed is False
    assert (await images.pull(name, "always")).id == pair[0].config.digest[7:]
    everything = await images.pull(name, "always", all_platforms=True)
    assert everything.id == pair[0].config.digest[7:]
    by_digest = f"{registry.address}/platforms@{pair[1].manifest.digest}"
    assert images.find(by_digest).id == pair[1].config.digest[7:]


async def test_a_single_platform_that_is_not_the_one_wanted(
    images: Images,
    registry: TestRegistry,
    context: ImageContext,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = small_image(platform="linux/amd64")
    name = await published(tmp_path, registry, context, image, "single:1")
    amd = context.with_changes(platform=parse("linux/amd64"))
    assert (await images.pull(name, "always", context=amd)).changed
    assert caplog.text == ""
    arm = context.with_changes(platform=parse("linux/arm64"))
    assert (await images.pull(name, "always", context=arm)).id == image.config.digest[7:]
    assert f"{name} is an image for linux/amd64, not for linux/arm64" in caplog.text


async def test_by_digest(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    image = small_image(text="digest")
    name = await published(tmp_path, registry, context, image, "digest:1")
    wanted = f"{name}@{image.manifest.digest}"
    pulled = await images.pull(wanted)
    assert pulled.name == f"{registry.address}/digest@{image.manifest.digest}"
    assert images.find(wanted).id == images.find(image.manifest.digest).id == pulled.id
    assert (await images.pull(wanted)).changed is False


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_push_and_pull_back(
    images: Images,
    peers: Peers,
    registry: TestRegistry,
    context: ImageContext,
    tmp_path: Path,
    compression: Literal["gzip", "zstd"],
) -> None:
    image = small_image(text=compression, compression="")
    layout = write_layout(tmp_path / "layout", {"x": image})
    pulled = await images.pull(f"oci:{layout}:x")
    assert pulled.name == "localhost/x:latest"
    place = f"{registry.address}/pushed/{compression}:1"
    digest = await images.push(pulled.id, f"docker://{place}", compression_format=compression)
    seen = peers.skopeo("inspect", "--tls-verify=false", f"docker://{place}")
    described = json.loads(seen)
    assert described["Digest"] == digest
    again = await images.pull(place)
    assert again.id == pulled.id and again.digest == digest


async def test_pushing_back_changes_nothing(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    image = small_image(text="back")
    name = await published(tmp_path, registry, context, image, "back:1")
    await images.pull(name)
    images.tag(name, f"{registry.address}/back:2")
    events: list[Event] = []
    digest = await images.push(f"{registry.address}/back:2", progress=events.append)
    assert digest == image.manifest.digest
    assert all(event.reused for event in events if isinstance(event, BlobDone))


async def test_to_archives_and_back(images: Images, short_path: Path, tmp_path: Path) -> None:
    image = make_image([busybox_layer()])
    layout = write_layout(tmp_path / "layout", {"x": image})
    pulled = await images.pull(f"oci:{layout}:x")
    for number, transport in enumerate(("docker-archive", "oci-archive", "dir", "oci")):
        path = tmp_path / f"copy{number}"
        suffix = "" if transport == "dir" else ":localhost/again:1"
        await images.push(pulled.id, f"{transport}:{path}{suffix}")
        other = Peers(short_path / f"o{number}")
        name = other.storage_reference("localhost/again:1")
        other.skopeo("copy", f"{transport}:{path}{suffix}", name)
        [listed] = json.loads(other.podman("images", "--format", "json"))
        assert listed["Id"] == pulled.id
    images.remove([pulled.id], force=True)
    back = await images.pull(f"docker-archive:{tmp_path / 'copy0'}")
    assert (back.id, back.name) == (pulled.id, "localhost/again:1")


async def test_images_of_other_tools(
    images: Images, peers: Peers, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    image = make_image([busybox_layer(), make_tar({"x": b"x"})])
    layout = write_layout(tmp_path / "layout", {"x": image})
    peers.skopeo("copy", f"oci:{layout}:x", peers.storage_reference("localhost/theirs:1"))
    found = images.find("theirs:1")
    assert found.id == image.config.digest[7:]
    place = f"{registry.address}/theirs:1"
    await images.push("theirs:1", place)
    images.remove(["theirs:1"])
    assert images.list() == [] and images.store.layers() == []
    pulled = await images.pull(place)
    assert pulled.id == image.config.digest[7:]
    assert peers.run("--rm", place, "cat", "/x") == "x"


async def test_copying_between_places(
    images: Images, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    pair = [small_image(platform=name) for name in ("linux/amd64", "linux/arm64")]
    index = make_index(pair)
    layout = write_layout(tmp_path / "layout", {"x": (index, pair)})
    place = f"docker://{registry.address}/between:1"
    everything = CopyOptions(which="all")
    result = await images.copy(f"oci:{layout}:x", place, options=everything)
    assert str(result.digest) == index.digest
    await images.copy(place, "containers-storage:localhost/here:1")
    assert images.find("here:1").digest == index.digest
    result = await images.copy("containers-storage:localhost/here:1", f"dir:{tmp_path / 'out'}")
    assert str(result.config) == pair[0].config.digest
    await images.copy("containers-storage:localhost/here:1", "containers-storage:localhost/b:1")
    assert set(images.find("b:1").names) == {"localhost/here:1", "localhost/b:1"}


def test_no_lock_file_is_left_open(store: Store) -> None:
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _open(fd)]
    assert not [name for name in names if name.startswith(store.config.graphroot)]


def _open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")
