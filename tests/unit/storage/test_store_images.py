"""Images, their names and the layers under them, without root: on the vfs driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.storage.config import StorageConfig
from trilby.storage.errors import (
    ContainerNotFound,
    DuplicateId,
    DuplicateName,
    ImageInUse,
    ImageNotFound,
    InvalidName,
    LayerInUse,
    LayerNotFound,
    NotMounted,
)
from trilby.storage.images import Images
from trilby.storage.layers import Layers
from trilby.storage.records import Image, Layer
from trilby.storage.store import Store
from trilby.storage.storeimages import unneeded_layers


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    if os.geteuid() != 0:
        pytest.skip("the root of a layer is 0555, and only root moves a directory like that")
    with Store.open(StorageConfig(str(tmp_path / "g"), str(tmp_path / "r"), "vfs")) as opened:
        yield opened


def test_an_image(store: Store) -> None:
    layer = store.create_layer()
    image = store.create_image(
        names=["a:1", "a:2"],
        top_layer=layer.id,
        metadata="{}",
        big_data={"manifest": b"{}", "sha256:abc": b"config"},
    )
    assert store.image(image.id) == store.image("a:1") == store.image(image.id[:10]) == image
    assert image.big_data_names == ("manifest", "sha256:abc")
    assert image.big_data_sizes == {"manifest": 2, "sha256:abc": 6}
    assert image.digest == image.big_data_digests["manifest"]
    assert store.images_by_digest(image.digest) == [image]
    assert store.image_big_data("a:2", "sha256:abc") == b"config"
    assert store.image_size("a:1") == 8 and store.image_sizes() == {image.id: 8}
    assert store.lookup("a:1") == image and store.lookup(layer.id) == store.layer(layer.id)
    assert store.image("b") is None
    with pytest.raises(ImageNotFound):
        store.image_big_data("b", "manifest")


def test_names_move(store: Store) -> None:
    one = store.create_image(names=["a", "b"])
    two = store.create_image(names=["b", "c"])
    assert store.image(one.id).names == ("a",)  # type: ignore[union-attr]  # it was just made
    assert two.names == ("b", "c")
    two = store.set_image_names(two.id, ["a"])
    assert two.names == ("a",) and two.names_history == ("a", "b", "c")
    assert store.image(one.id).names == ()  # type: ignore[union-attr]  # it was just made
    assert store.add_image_names(two.id, ["d", "a"]).names == ("a", "d")
    assert store.remove_image_names("d", ["a", "x"]).names == ("d",)


def test_the_same_image_again(store: Store) -> None:
    layer, other = store.create_layer(), store.create_layer()
    one = store.create_image("1" * 64, names=["a"], top_layer=layer.id, big_data={"x": b"1"})
    two = store.create_image("1" * 64, names=["b"], top_layer=layer.id, big_data={"y": b"2"})
    assert two.names == ("a", "b") and two.big_data_names == ("x", "y")
    assert two.created == one.created
    with pytest.raises(DuplicateId):
        store.create_image("1" * 64, top_layer=other.id)
    with pytest.raises(LayerNotFound):
        store.create_image(top_layer="2" * 64)
    with pytest.raises(InvalidName):
        store.create_image("../../etc")


def test_deleting_takes_what_nothing_needs(store: Store, tmp_path: Path) -> None:
    base = store.create_layer()
    one = store.create_layer(parent=base.id)
    two = store.create_layer(parent=base.id)
    first = store.create_image(names=["a"], top_layer=one.id, big_data={"manifest": b"{}"})
    store.create_image(names=["b"], top_layer=two.id)
    with pytest.raises(LayerInUse, match="on top"):
        store.delete_layer(base.id)
    with pytest.raises(LayerInUse, match="image"):
        store.delete_layer(one.id)
    assert store.delete_image("a") == [one.id]
    assert not (tmp_path / "g" / "vfs-images" / first.id).exists()
    assert store.delete_image("b") == [two.id, base.id]
    assert store.layers() == [] and store.images() == []
    assert sorted(path.name for path in (tmp_path / "g" / "vfs").rglob("*")) == ["dir", "tempdirs"]


def test_containers(store: Store, tmp_path: Path) -> None:
    layer = store.create_layer()
    image = store.create_image(names=["a"], top_layer=layer.id)
    made = store.create_container(
        names=["c"], image="a", metadata="{}", volatile=True, mount_options=["nodev"]
    )
    assert store.container("c") == store.container(made.id[:8]) == made
    assert made.flags == {
        "MountLabel": "",
        "ProcessLabel": "",
        "MountOpts": ["nodev"],
        "Volatile": True,
    }
    assert (made.image_id, store.layer(made.layer_id).parent) == (image.id, layer.id)  # type: ignore[union-attr]  # made with it
    with pytest.raises(DuplicateName):
        store.create_container(names=["c"])
    with pytest.raises(ImageInUse, match=made.id[:12]):
        store.delete_image("a")
    assert len(store.layers()) == 2
    assert store.container_dir("c") == tmp_path / "g" / "vfs-containers" / made.id / "userdata"
    assert store.container_run_dir("c").is_dir()
    store.set_container_big_data("c", "state", b"{}")
    assert store.container_big_data("c", "state") == b"{}"
    assert store.set_container_metadata("c", "x").metadata == "x"
    assert store.set_container_names("c", ["d"]).names == ("d",)
    store.delete_container("d")
    assert store.containers() == [] and len(store.layers()) == 1
    assert not (tmp_path / "g" / "vfs-containers" / made.id).exists()
    assert not (tmp_path / "r" / "vfs-containers" / made.id).exists()
    with pytest.raises(ContainerNotFound):
        store.delete_container("d")


def test_mount_counts(store: Store) -> None:
    layer = store.create_layer()
    with pytest.raises(NotMounted):
        store.unmount_layer(layer.id)
    path = store.mount_layer(layer.id)
    assert store.mount_layer(layer.id) == path
    with pytest.raises(LayerInUse, match="mounted"):
        store.delete_layer(layer.id)
    assert store.unmount_layer(layer.id) is True
    assert store.unmount_layer(layer.id) is False
    store.mount_layer(layer.id)
    store.mount_layer(layer.id)
    assert store.unmount_layer(layer.id, force=True) is False
    store.delete_layer(layer.id)


def test_incomplete_layers_are_not_seen_and_go(store: Store, tmp_path: Path) -> None:
    layer = store.create_layer()
    path = tmp_path / "g" / "vfs-layers" / "layers.json"
    path.write_bytes(path.read_bytes().replace(b'"}]', b'","flags":{"incomplete":true}}]'))
    assert store.layers() == [] and store.layer(layer.id) is None
    found = store.recover()
    assert found.layers == (layer.id,)
    assert path.read_bytes() == b"[]"
    assert store.recover() == type(found)()


def test_orphans_go(store: Store, tmp_path: Path) -> None:
    graph = tmp_path / "g"
    kept = store.create_layer()
    (graph / "vfs" / "dir" / ("1" * 64)).mkdir()
    (graph / "vfs-layers" / f"{'2' * 64}.tar-split.gz").touch()
    (graph / "vfs-images" / ("3" * 64)).mkdir()
    (graph / "vfs-containers" / ("4" * 64)).mkdir()
    (graph / "vfs-images" / ".tmp-images.json123").touch()
    (graph / "vfs-images" / "of-another-tool").mkdir()
    image = store.create_image(big_data={"manifest": b"{}"})
    (graph / "vfs-images" / image.id / ".manifest.0123.tmp").touch()
    assert len(store.recover().orphans) == 4
    assert store.layers() == [kept]
    assert sorted(path.name for path in (graph / "vfs-images").rglob("*")) == sorted(
        ["images.json", "images.lock", "of-another-tool", image.id, "manifest"]
    )


@given(st.data())
def test_no_needed_layer_is_ever_deleted(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    parents = [data.draw(st.integers(-1, number - 1)) for number in range(count)]
    layers = [
        Layer(id=str(number), parent=str(parent) if parent >= 0 else "")
        for number, parent in enumerate(parents)
    ]
    top = data.draw(st.integers(0, count - 1))
    used = set(data.draw(st.lists(st.sampled_from([str(n) for n in range(count)]))))
    snapshot = Layers(layers)
    gone = unneeded_layers(snapshot, Image(id="i", top_layer=str(top)), used)
    assert used.isdisjoint(gone) and len(set(gone)) == len(gone)
    assert all(layer.parent not in gone for layer in layers if layer.id not in gone)
    assert Images([]).records == []
