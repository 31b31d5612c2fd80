"""A check finds what is missing or changed, and only that."""

from __future__ import annotations

import shutil

import pytest
from tests.support.store import Peers, add_image, layer_tar

from trilby.storage.errors import InvalidName
from trilby.storage.store import Store
from trilby.system.locks import RecordLock

NAME = "localhost/thing:latest"
LAYERS = [layer_tar({"a": b"1", "d/": b"", "d/x": b"2"}), layer_tar({"b": b"3"})]


def chain(store: Store) -> tuple[str, str]:
    of_image = [layer for layer in store.layers() if layer.diff_id]
    upper, lower = sorted(of_image, key=lambda layer: not layer.parent)
    return lower.id, upper.id


def test_a_sound_store(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, LAYERS)
        store.create_container(image=NAME)
        assert store.check(contents=True).sound


def test_changed_content(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, LAYERS)
        lower, upper = chain(store)
        (peers.graphroot / "overlay" / lower / "diff/a").write_bytes(b"9")
        assert store.check().sound
        found = store.check(contents=True)
        assert list(found.layers) == [lower] and not found.images


def test_lost_directories(peers: Peers) -> None:
    with peers.open() as store:
        image = add_image(store, NAME, LAYERS)
        made = store.create_container(image=NAME)
        lower, upper = chain(store)
        shutil.rmtree(peers.graphroot / "overlay" / upper)
        found = store.check()
        assert found.layers[upper] == ["its directory is missing"]
        assert image.id in found.images and made.layer_id in found.layers
        assert list(found.containers) == [made.id]
        store.delete_container(made.id)
        store.delete_image(NAME)
        assert store.check().sound and store.layers() == []
        add_image(store, NAME, LAYERS)
        assert store.check(contents=True).sound


def test_lost_and_changed_data(peers: Peers) -> None:
    with peers.open() as store:
        image = add_image(store, NAME, LAYERS)
        folder = peers.graphroot / "overlay-images" / image.id
        (folder / "manifest").write_bytes(b"x" * image.big_data_sizes["manifest"])
        (problem,) = store.check().images[image.id]
        assert problem == "its data 'manifest' has another digest"
        shutil.rmtree(folder)
        assert len(store.check().images[image.id]) == 3


def test_the_lock_of_a_blob(peers: Peers) -> None:
    with peers.open() as store:
        with store.lock_blob("sha256:abc"):
            path = peers.runroot / "overlay-locks" / "sha256:abc"
            assert path.exists() and RecordLock(path).held()
        store.lock_blob("sha256:abc", timeout=0).release()
        with pytest.raises(InvalidName):
            store.lock_blob("../x")
