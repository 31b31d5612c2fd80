"""Find, remove, tag, prune, mount, import: what people do with the images of the store."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from tests.support.image_ends import MemorySource
from tests.support.images import SampleImage, make_image, make_tar, small_image
from tests.support.store import Peers, busybox_layer

from trilby.errors import Conflict, InvalidInput, NotFound, Refused
from trilby.image.context import ImageContext
from trilby.image.copy import copy_image
from trilby.image.reference import Reference
from trilby.image.service import Images
from trilby.image.transports.storage_write import StorageDestination


async def add(images: Images, image: SampleImage, *names: str) -> str:
    destination = StorageDestination(images.store, None, more_names=names)
    await copy_image(MemorySource(image), destination)
    await destination.close()
    return destination.image_id


async def test_every_way_to_name_an_image(images: Images) -> None:
    image = small_image()
    identity = await add(images, image, "quay.example/team/app:1", "localhost/app:latest")
    digest = image.manifest.digest
    for text in (
        "quay.example/team/app:1",
        "team/app:1",
        "app:1",
        "app",
        "localhost/app",
        identity,
        identity[:7],
        f"sha256:{identity}",
        digest,
        f"app@{digest}",
        f"quay.example/team/app:1@{digest}",
        "containers-storage:localhost/app",
    ):
        assert images.find(text).id == identity, text
        assert images.exists(text)
    for text in ("pp:1", "app:2", "eam/app:1", "team/app", "0" * 64, f"b@{digest}", "UPPER", "-"):
        assert not images.exists(text), text
    [listed] = images.list()
    assert listed.names == ("quay.example/team/app:1", "localhost/app:latest")
    assert listed.repo_digests == (f"quay.example/team/app@{digest}", f"localhost/app@{digest}")


async def test_aliases_and_search_registries_decide(images: Images, context: ImageContext) -> None:
    one = await add(images, small_image(text="1"), "one.example/app:latest")
    two = await add(images, small_image(text="2"), "two.example/app:latest")
    assert context.registries_conf is not None
    Path(context.registries_conf).write_text('unqualified-search-registries = ["two.example"]')
    assert images.find("app").id == two
    Path(context.registries_conf).write_text('[aliases]\n"app" = "one.example/app"\n')
    assert images.find("app").id == one


async def test_an_ambiguous_prefix(images: Images) -> None:
    count = 0
    while len({image.id[0] for image in images.list()}) == count:
        await add(images, make_image([make_tar({})], config={"User": str(count)}))
        count += 1
    shared = next(
        image.id[0]
        for image in images.list()
        if sum(other.id[0] == image.id[0] for other in images.list()) > 1
    )
    with pytest.raises(InvalidInput, match="fits 2 images"):
        images.find(shared)


async def test_removing(images: Images) -> None:
    identity = await add(images, small_image(), "localhost/a:1", "localhost/b:1")
    with pytest.raises(Conflict, match="several names: localhost/a:1, localhost/b:1"):
        images.remove([identity])
    [removed] = images.remove(["a:1"])
    assert (removed.untagged, removed.deleted) == (("localhost/a:1",), "")
    container = images.store.create_container(names=["user"], image=identity)
    with pytest.raises(Conflict, match="containers were made from it: user"):
        images.remove(["b:1"], force=True)
    images.store.delete_container(container.id)
    [removed] = images.remove(["b:1"])
    assert removed.deleted == identity and len(removed.layers) == 3 and removed.freed > 0
    assert images.list() == [] and images.store.layers() == []
    with pytest.raises(NotFound):
        images.remove(["b:1"])
    identity = await add(images, small_image(), "localhost/a:1", "localhost/b:1")
    [removed] = images.remove([identity], force=True)
    assert removed.untagged == ("localhost/a:1", "localhost/b:1")


async def test_tags(images: Images, peers: Peers) -> None:
    one = await add(images, small_image(text="1"), "localhost/one:1")
    two = await add(images, small_image(text="2"), "localhost/two:1")
    images.tag(one, "new", "quay.example/x:2", "localhost/two:1")
    assert images.find(one).names == (
        "localhost/one:1",
        "localhost/new:latest",
        "quay.example/x:2",
        "localhost/two:1",
    )
    assert images.find(two).names == () and images.find(two).names_history == ("localhost/two:1",)
    images.untag(one, "new", "x:2")
    with pytest.raises(NotFound, match="not a name of it"):
        images.untag(one, two)
    assert len(images.find(one).names) == 2
    images.untag(one)
    assert images.find(one).names == ()
    assert len(json.loads(peers.podman("images", "--format", "json"))) == 2


async def test_names_that_an_additional_store_gives(
    images: Images, peers: Peers, other: Peers, context: ImageContext
) -> None:
    with other.open() as store:
        await add(Images(store, context), small_image(), "localhost/theirs:1")
    identity = await add(images, small_image(), "localhost/ours:1")
    with peers.open(additional_image_stores=(str(other.graphroot),)) as store:
        both = Images(store, context)
        assert [image.id for image in both.list()] == [identity]
        for text in ("theirs:1", "ours:1", identity, identity[:7], small_image().manifest.digest):
            assert both.find(text).id == identity, text
        for refused in (
            lambda: both.remove(["theirs:1"], force=True),
            lambda: both.untag("theirs:1"),
            lambda: both.untag("ours:1", "theirs:1"),
        ):
            with pytest.raises(Refused, match="only read"):
                refused()
        [removed] = both.remove(["ours:1"])
        assert removed.deleted == identity and both.find("theirs:1").id == identity
    exists = ("image", "exists", "localhost/theirs:1")
    peers.podman("--storage-opt", f"overlay.imagestore={other.graphroot}", *exists)


async def test_pruning(images: Images) -> None:
    base = make_tar({"base": b"base" * 999})
    used = await add(images, make_image([base, make_tar({"u": b"u"})]))
    named = await add(images, make_image([base, make_tar({"n": b"n"})]), "localhost/named:1")
    gone = await add(
        images, make_image([base, make_tar({"g": b"g"})], config={"Labels": {"stage": "test"}})
    )
    images.store.create_container(names=["user"], image=used)
    assert [each.deleted for each in images.prune(filters=["label=stage=prod"])] == []
    assert [each.deleted for each in images.prune(filters=["label!=stage"])] == []
    assert [each.deleted for each in images.prune(filters=["until=2020-01-01"])] == []
    planned = images.prune(filters=["until=1h", "label=stage"], dry_run=True)
    assert images.exists(gone)
    assert images.prune(filters=["until=1h", "label=stage"]) == planned
    assert [each.deleted for each in planned] == [gone]
    [last] = images.prune(all_unused=True, dry_run=True)
    assert images.prune(all_unused=True) == [last] and last.deleted == named
    assert [image.id for image in images.list()] == [used]
    for bad in ("until=yesterday", "name=x", "label!", "dangling=perhaps"):
        with pytest.raises(InvalidInput):
            images.prune(filters=[bad])


async def test_mounting(images: Images) -> None:
    name = "localhost/m:1"
    await add(images, small_image(text="mounted"), name)
    place = images.mount(name)
    try:
        assert (place / "etc/motd").read_text() == "mounted"
        assert not (place / "etc/old").exists()
        with pytest.raises(OSError, match="Read-only"):
            (place / "etc/new").write_text("x")
        assert images.mount(name) == place
        images.unmount(name)
        assert (place / "etc/motd").exists()
    finally:
        images.unmount(name, force=True)
    assert not (place / "etc").exists() and images.unmount(name) is False


CHANGES = [
    'ENTRYPOINT ["/bin/echo"]',
    "CMD hello  world",
    "ENV A=1 B='two words'",
    "ENV PATH /bin:/usr/bin",
    "LABEL version=1",
    "WORKDIR srv",
    "USER 1000:1000",
    "EXPOSE 80 53/udp",
    "VOLUME /data",
    "STOPSIGNAL SIGINT",
]


@pytest.mark.parametrize("kind", ["directory", "tar", "tar.gz"])
def test_importing(kind: str, images: Images, peers: Peers, tmp_path: Path) -> None:
    source = tmp_path / "rootfs"
    source.mkdir()
    # Not by extractall(): its filters came with Python 3.11.4, and 3.14 wants one.
    subprocess.run(["tar", "-x", "-C", source], input=busybox_layer(), check=True)
    if kind != "directory":
        with tarfile.open(tmp_path / kind, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.add(source, ".")
        source = tmp_path / kind
    identity = images.import_rootfs(str(source), "demo", changes=CHANGES, message="made here")
    config = images.config("demo").config
    assert config.entrypoint == ("/bin/echo",) and config.cmd == ("/bin/sh", "-c", "hello  world")
    assert config.env == ("A=1", "B=two words", "PATH=/bin:/usr/bin")
    assert (config.working_dir, config.user, config.stop_signal) == ("/srv", "1000:1000", "SIGINT")
    assert set(config.exposed_ports) == {"80/tcp", "53/udp"} and set(config.volumes) == {"/data"}
    assert images.history("demo")[0].comment == "made here"
    assert images.find("localhost/demo:latest").id == identity
    said = peers.run(
        "--rm", "--user=0", "--workdir=/", "--entrypoint=/bin/cat", "demo", "/etc/passwd"
    )
    assert said == "root:x:0:0:root:/:/bin/sh"
    out = tmp_path / "out"
    peers.skopeo("copy", peers.storage_reference("localhost/demo"), f"oci:{out}")


@pytest.mark.parametrize(
    "change", ["RUN x", "ENV", "EXPOSE http", "EXPOSE 1/xyz", "LABEL =x", 'CMD ["a"', "ENV a"]
)
def test_changes_that_make_no_sense(change: str, images: Images, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="invalid change"):
        images.import_rootfs(str(tmp_path), changes=[change])
    assert images.list() == [] and images.store.layers() == []


def test_importing_what_is_not_there(images: Images, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        images.import_rootfs(str(tmp_path / "missing"))
    (tmp_path / "text").write_text("no archive " * 200)
    with pytest.raises(Exception, match="layer|archive"):
        images.import_rootfs(str(tmp_path / "text"))
    assert images.store.layers() == []


async def test_five_hundred_images_are_listed_quickly(images: Images) -> None:
    identity = await add(images, small_image(), "localhost/base:1")
    top = images.store.image(identity)
    assert top is not None
    manifest = images.raw_manifest("base:1")
    for number in range(499):
        images.store.create_image(
            f"{number:064x}",
            names=[f"quay.example/team/app{number}:1"],
            top_layer=top.top_layer,
            big_data={"manifest": manifest},
        )
    started = time.perf_counter()
    assert len(images.list()) == 500
    assert time.perf_counter() - started < 0.5
    assert str(Reference.parse("localhost/base:1")) in images.list()[-1].names or os.name
