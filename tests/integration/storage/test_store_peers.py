"""One store, several tools: what any of them makes, the others list, run, copy and remove."""

from __future__ import annotations

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.support.store import (
    Peers,
    add_image,
    busybox_layer,
    digest,
    docker_archive,
    layer_tar,
)

from trilby.storage.errors import ContainerInUse, ImageInUse, ReadOnlyStore
from trilby.storage.store import Store

NAME = "localhost/thing:latest"


def layers() -> list[bytes]:
    upper = layer_tar(
        {
            "etc/": b"",
            "etc/greeting": b"hello\n",
            "etc/gone": b"soon",
            "opaque/": b"",
            "opaque/below": b"x",
            "links/": b"",
            "links/to": "../etc/greeting",
        }
    )
    top = layer_tar({"etc/.wh.gone": b"", "opaque/.wh..wh..opq": b"", "opaque/above": b"y"})
    return [busybox_layer(), upper, top]


def exports_are_exact(store: Store) -> None:
    for layer in store.layers():
        if layer.diff_id:
            with store.export_layer(layer.id) as stream:
                assert digest(stream.read()) == layer.diff_id


def copied_layers(peers: Peers, name: str) -> list[str]:
    """The digests of uncompressed layers as skopeo copies them out."""
    out = peers.folder / "copied"
    peers.skopeo("copy", peers.storage_reference(name), f"dir:{out}")
    manifest = json.loads((out / "manifest.json").read_bytes())
    return [digest((out / one["digest"][7:]).read_bytes()) for one in manifest["layers"]]


def test_ours_in_the_hands_of_the_others(peers: Peers) -> None:
    data = layers()
    with peers.open() as store:
        image = add_image(store, NAME, data)
        assert peers.podman("images", "--format", "{{.Repository}}:{{.Tag}}") == NAME
        assert peers.podman("images", "-q", "--no-trunc") == f"sha256:{image.id}"
        shown = peers.run("--rm", NAME, "cat", "/etc/greeting", "/opaque/above", "/links/to")
        assert shown == "hello\nyhello"
        assert peers.run("--rm", NAME, "ls", "/opaque") == "above"
        peers.run("--rm", NAME, "ls", "/etc/gone", check=False)
        assert copied_layers(peers, NAME) == [digest(layer) for layer in data]
        exports_are_exact(store)
        peers.podman("tag", NAME, "localhost/other:1")
        assert store.image("localhost/other:1") is not None
        peers.podman("rmi", "--force", image.id)
        assert store.images() == [] and store.layers() == []
        assert os.listdir(peers.graphroot / "overlay" / "l") == []


def test_theirs_in_our_hands(peers: Peers) -> None:
    data = layers()
    archive = docker_archive(peers.folder / "archive.tar", NAME, data)
    peers.podman("load", "--input", str(archive))
    with peers.open() as store:
        image = store.image(NAME)
        assert image is not None
        assert [layer.diff_id for layer in reversed(store._chain(image.top_layer))] == [
            digest(layer) for layer in data
        ]
        exports_are_exact(store)
        root = store.mount_image(NAME)
        assert (root / "etc/greeting").read_bytes() == b"hello\n"
        assert os.listdir(root / "opaque") == ["above"]
        assert not (root / "etc/gone").exists()
        with pytest.raises(OSError):
            (root / "new").touch()
        assert peers.podman("image", "mount", "--format", "json").count(str(root)) == 1
        assert store.unmount_image(NAME) is False
        gone = store.delete_image(NAME)
        assert len(gone) == 3
    assert peers.podman("images", "-q") == ""
    peers.skopeo("copy", f"docker-archive:{archive}", peers.storage_reference("localhost/x:1"))
    with peers.open() as store:
        exports_are_exact(store)
        assert store.image("localhost/x:1") is not None


def test_a_stack_of_both(peers: Peers) -> None:
    data = layers()
    with peers.open() as store:
        add_image(store, NAME, data[:2])
        archive = docker_archive(peers.folder / "archive.tar", "localhost/upper:1", data)
        peers.podman("load", "--input", str(archive))
        assert len(store.layers()) == 3
        upper = store.image("localhost/upper:1")
        assert upper is not None
        assert store.delete_image(NAME) == []
        assert peers.run("--rm", "localhost/upper:1", "cat", "/etc/greeting") == "hello"
        exports_are_exact(store)


def test_our_container_and_podmans(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, layers())
        # Not volatile: podman 4.3 does not read the newer volatile-containers.json.
        made = store.create_container(names=["ours"], image=NAME)
        root = store.mount_container("ours")
        (root / "new").write_text("content")
        (root / "etc/greeting").unlink()
        assert store.container_mount("ours") == (str(root), 1)
        listed = peers.podman("ps", "--all", "--external", "--format", "{{.Names}}")
        assert listed == "ours"
        # podman counts one user more and one less: ours stays mounted.
        assert peers.podman("mount", made.id) == str(root)
        assert store.container_mount("ours") == (str(root), 2)
        assert store.unmount_container("ours") is True
        with store.export_container("ours") as stream:
            names = tarfile.open(fileobj=BytesIO(stream.read())).getnames()
        assert {"new", "etc/.wh.greeting"} <= {name.removeprefix("./") for name in names}
        with pytest.raises(ImageInUse):
            store.delete_image(NAME)
        assert store.unmount_container("ours") is False
        assert not list(root.iterdir())
        peers.podman("create", "--name", "theirs", NAME)
        assert {name for one in store.containers() for name in one.names} == {"ours", "theirs"}
        store.delete_container("theirs")
        store.delete_container("ours")
        assert store.containers() == []
        assert len(store.layers()) == 3


def test_a_volatile_container(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, layers()[:1])
        store.create_container(names=["ours"], image=NAME, volatile=True)
        assert not (peers.graphroot / "overlay-containers/containers.json").exists()
        root = store.mount_container("ours")
        (root / "new").write_text("content")
        with open("/proc/self/mountinfo") as table:
            assert [line for line in table if str(root) in line and "volatile" in line]
        store.unmount_container("ours")
        # The kernel refuses a second volatile mount of what was never synced, unless told.
        assert (store.mount_container("ours") / "new").read_text() == "content"
        store.delete_container("ours")
        assert len(store.layers()) == 1


def test_podman_removes_our_container(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, layers())
        made = store.create_container(names=["ours"], image=NAME)
        directory = store.container_dir("ours")
        peers.podman("rm", "--force", made.id)
        assert store.containers() == [] and not directory.exists()
        assert len(store.layers()) == 3


def test_a_mount_below_a_containers_directory_is_no_rubble(peers: Peers) -> None:
    from trilby.system.mounts import TmpfsMount

    with peers.open() as store:
        add_image(store, NAME, layers()[:1])
        store.create_container(names=["ours"], image=NAME)
        mount = TmpfsMount(str(store.container_run_dir("ours")))
        mount.mount()
        with pytest.raises(ContainerInUse):
            store.delete_container("ours")
        mount.unmount()
        store.delete_container("ours")
        assert store.containers() == []


def test_a_stale_count_is_not_believed(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, layers()[:1])
        store.create_container(names=["ours"], image=NAME)
        root = store.mount_container("ours")
        store._driver.unmount(store.containers()[0].layer_id)
        assert store.container_mount("ours") == ("", 0)
        assert store.mount_container("ours") == root
        assert store.container_mount("ours") == (str(root), 1)
        assert store.unmount_container("ours") is False


def test_more_lower_layers_than_a_page_names(peers: Peers) -> None:
    with peers.open() as store:
        parent = None
        for _ in range(120):
            parent = store.create_layer(parent=parent.id if parent else None, volatile=True)
        assert parent is not None
        root = store.mount_layer(parent.id)
        (root / "file").write_text("x")
        assert store.unmount_layer(parent.id) is False
        assert (store.mount_layer(parent.id, read_only=True) / "file").read_text() == "x"
        assert store.unmount_layer(parent.id) is False


def test_an_additional_store_is_only_read(peers: Peers) -> None:
    other = Peers(peers.folder / "other")
    with other.open() as store:
        add_image(store, NAME, layers()[:2])
    with peers.open(additional_image_stores=(str(other.graphroot),)) as store:
        assert store.image_is_read_only(NAME)
        with pytest.raises(ReadOnlyStore):
            store.delete_image(NAME)
        with pytest.raises(ReadOnlyStore):
            store.set_image_names(NAME, ["x"])
        made = store.create_container(names=["c"], image=NAME)
        root = store.mount_container("c")
        assert (root / "etc/greeting").read_bytes() == b"hello\n"
        (root / "etc/greeting").write_bytes(b"changed")
        store.unmount_container("c")
        image_root = store.mount_image(NAME)
        assert str(image_root).startswith(str(peers.runroot))
        assert (image_root / "etc/greeting").read_bytes() == b"hello\n"
        with pytest.raises(ReadOnlyStore):
            store.mount_layer(store.image(NAME).top_layer)  # type: ignore[union-attr]  # found above
        store.unmount_image(NAME)
        exports_are_exact(store)
        add_image(store, "localhost/upper:1", layers())
        own = os.listdir(peers.graphroot / "overlay")
        assert len([name for name in own if len(name) == 64]) == 2
        option = f"overlay.imagestore={other.graphroot}"
        shown = peers.podman("--storage-opt", option, "images", "--format", "{{.Repository}}")
        assert sorted(shown.split()) == ["localhost/thing", "localhost/upper"]
        store.delete_container(made.id)


def test_the_vfs_driver(short_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("podman's vfs needs root")
    peers = Peers(short_path, "vfs")
    with peers.open() as store:
        add_image(store, NAME, layers())
        assert peers.podman("images", "--format", "{{.Repository}}:{{.Tag}}") == NAME
        assert peers.run("--rm", NAME, "ls", "/opaque", "/etc/greeting") == (
            "/etc/greeting\n\n/opaque:\nabove"
        )
        exports_are_exact(store)
        assert copied_layers(peers, NAME) == [digest(layer) for layer in layers()]
        store.create_container(names=["c"], image=NAME)
        root = store.mount_container("c")
        (root / "new").touch()
        (root / "etc/greeting").unlink()
        store.unmount_container("c")
        with store.export_container("c") as stream:
            names = tarfile.open(fileobj=BytesIO(stream.read())).getnames()
        assert {"new", "etc/.wh.greeting"} <= {name.removeprefix("./") for name in names}
        store.delete_container("c")
        peers.podman("rmi", NAME)
        assert store.layers() == []
        archive = docker_archive(peers.folder / "archive.tar", NAME, layers())
        peers.podman("load", "--input", str(archive))
        exports_are_exact(store)
        assert len(store.delete_image(NAME)) == 3
