"""Mounts: user namespaces, users in several threads and processes, probes, the home."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.support.store import Peers, add_image, layer_tar

from trilby.storage.drivers.probes import Probes
from trilby.storage.errors import DriverFailed, StorageError
from trilby.storage.records import IDMap
from trilby.storage.store import Recovered, Store
from trilby.storage.tarerrors import CorruptLayer, LayerWriteError
from trilby.storage.tempdirs import TempRoot
from trilby.system.mounts import TmpfsMount, list_mounts

NAME = "localhost/thing:latest"
LAYERS = [layer_tar({"a": b"1", "d/": b"", "d/x": b"2"}), layer_tar({"b": b"3"})]
MAP = (IDMap(0, 100_000, 65_536),)


def test_a_container_in_a_user_namespace(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, LAYERS)
        made = store.create_container(image=NAME, uid_map=MAP, gid_map=MAP, volatile=True)
        root = store.mount_container(made.id)
        assert (root / "a").stat().st_uid == 100_000 and root.stat().st_gid == 100_000
        assert (store.container_changes_dir(made.id)).stat().st_uid == 100_000
        os.chmod(root / "d/x", 0o600)
        assert (store.container_changes_dir(made.id) / "d/x").stat().st_uid == 100_000
        assert not list((peers.graphroot / "overlay").glob("*/mapped"))
        # Somebody without any rights gets there, as the runtime must.
        for path in (root, *root.parents):
            assert path.stat().st_mode & 0o001 or path == peers.folder, path
            if path == peers.graphroot:
                break
        store.unmount_container(made.id)
        assert (store.mount_container(made.id) / "b").stat().st_uid == 100_000
        store.delete_container(made.id)
        plain = store.create_container(image=NAME)
        assert (store.mount_container(plain.id) / "a").stat().st_uid == 0
        store.delete_container(plain.id)


def test_a_map_without_the_root(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, LAYERS)
        with pytest.raises(DriverFailed, match="ID 0"):
            store.create_container(image=NAME, uid_map=[IDMap(5, 100_000, 10)])
        assert store.containers() == [] and len(store.layers()) == 2
        assert len([one for one in os.listdir(peers.graphroot / "overlay") if len(one) == 64]) == 2


def test_many_at_once(peers: Peers) -> None:
    stores = [peers.open(), peers.open()]
    add_image(stores[0], NAME, LAYERS)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        store = stores[number % 2]
        try:
            for step in range(6):
                name = f"{number}-{step}"
                store.create_container(names=[name], image=NAME, volatile=bool(step % 2))
                root = store.mount_container(name)
                (root / "new").write_text(name)
                assert store.mount_image(NAME).is_dir()
                store.unmount_image(NAME)
                store.unmount_container(name)
                store.delete_container(name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert peers.podman("images", "--format", "{{.Repository}}") == "localhost/thing"
        for thread in threads:
            thread.join(0.01)
    assert errors == []
    assert stores[0].containers() == [] and len(stores[1].layers()) == 2
    assert stores[0].recover() == Recovered()
    assert [one for one in list_mounts(peers.folder) if one.target.endswith("merged")] == []
    for store in stores:
        store.close()


def test_layers_staged_at_once(peers: Peers) -> None:
    with peers.open() as store:
        data = [layer_tar({f"{n}/{m}": os.urandom(100) for m in range(50)}) for n in range(6)]
        staged = [store.stage_layer() for _ in data]

        def work(number: int) -> None:
            blocks = iter([data[number][:700], data[number][700:]])
            staged[number].apply(lambda _: next(blocks, b""))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(os.path.dirname(one.path) for one in staged)) == 1
        parent = None
        for one in staged[:5]:
            parent = store.commit_layer(one, parent=parent.id if parent else None)
        assert parent is not None
        staged[5].close()
        root = store.mount_layer(parent.id, read_only=True)
        assert sorted(os.listdir(root)) == ["0", "1", "2", "3", "4"]
        store.unmount_layer(parent.id)
        assert os.listdir(peers.graphroot / "overlay" / "tempdirs") == []
        assert os.listdir(peers.graphroot / "overlay-layers" / "tmp") == []


def test_a_full_disk_and_a_lost_connection(peers: Peers) -> None:
    mount = TmpfsMount(str(peers.folder), size=1 << 20)
    mount.mount()
    with peers.open() as store:
        blocks = [layer_tar({"big": os.urandom(3 << 20)})]
        with store.stage_layer() as staged, pytest.raises(LayerWriteError, match="No space"):
            staged.apply(lambda _: blocks.pop() if blocks else b"")

        def lost(_: int) -> bytes:
            raise ConnectionResetError("peer went away")

        with store.stage_layer() as staged, pytest.raises(ConnectionResetError):
            staged.apply(lost)
        broken = [b"\x1f\x8b not gzip"]
        with store.stage_layer() as staged, pytest.raises(CorruptLayer):
            staged.apply(lambda _: broken.pop() if broken else b"")
        with store.stage_layer() as staged, pytest.raises(StorageError, match="nothing"):
            store.commit_layer(staged)
        assert store.layers() == [] and store.recover() == Recovered()
        add_image(store, NAME, LAYERS)
    mount.unmount()


@pytest.mark.parametrize(("sync", "flushes"), [("filesystem", 1), ("none", 0)])
def test_one_flush_a_layer(
    peers: Peers, monkeypatch: pytest.MonkeyPatch, sync: str, flushes: int
) -> None:
    seen: list[str] = []

    def flush(fd: int) -> None:
        # What is flushed is still under its staging name: nobody holds the store's lock.
        seen.append(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr("trilby.storage.drivers.overlay.sync_fs", flush)
    with peers.open(driver_options=(f"overlay.sync={sync}",)) as store:
        add_image(store, NAME, LAYERS)
        assert len(seen) == flushes * len(LAYERS)
        assert all("/tempdirs/" in path for path in seen)


def test_the_same_layer_twice(peers: Peers) -> None:
    with peers.open() as store:
        one, two = store.stage_layer(), store.stage_layer()
        for staged in (one, two):
            blocks = iter([LAYERS[0]])
            staged.apply(lambda _, blocks=blocks: next(blocks, b""))  # type: ignore[misc]  # bound per round
        first = store.commit_layer(one, layer_id="1" * 64)
        assert store.commit_layer(two, layer_id="1" * 64) == first
        assert os.listdir(peers.graphroot / "overlay" / "tempdirs") == []


def test_probes_agree_with_podman(peers: Peers) -> None:
    peers.podman("images")
    podman = set(os.listdir(peers.runroot / "overlay"))
    home = peers.graphroot / "overlay"
    ours = Path(peers.folder / "ours")
    temp = TempRoot(str(home / "tempdirs"))
    probes = Probes(temp, str(ours), (), "trusted")
    answers = {
        f"native-diff()-{str(probes.native_diff()).lower()}",
        f"metacopy()-{str(probes.metacopy()).lower()}",
    }
    assert answers <= podman
    assert probes.volatile()
    assert set(os.listdir(ours)) == {*answers, "volatile-true"}
    # Asked again, the files answer.
    (ours / "volatile-true").rename(ours / "volatile-false")
    assert not probes.volatile()
    assert os.listdir(temp.root) == []


def test_trial_mounts_of_the_dead_go(peers: Peers) -> None:
    place = peers.graphroot / "overlay" / "tempdirs" / "temp-dir-x" / "0" / "merged"
    place.mkdir(parents=True)
    TmpfsMount(str(place)).mount()
    with peers.open() as store:
        assert store.recover().staging == (str(place.parents[1]),)
    assert not place.exists() and not list_mounts(peers.folder)


def test_layers_of_a_mount_program_are_refused(peers: Peers) -> None:
    with peers.open() as store:
        layer = store.create_layer()
        (peers.graphroot / "overlay" / ".has-mount-program").write_text("true")
        with pytest.raises(DriverFailed, match="fuse-overlayfs"):
            store.create_layer()
        with pytest.raises(DriverFailed, match="fuse-overlayfs"):
            store.mount_layer(layer.id)
        assert store.layers() == [layer]


def test_the_home_is_private_only_while_needed(peers: Peers) -> None:
    def home_mounted() -> bool:
        return str(peers.graphroot / "overlay") in [e.target for e in list_mounts(peers.folder)]

    store = Store.open(peers.config)
    layer = store.create_layer()
    assert not home_mounted()
    store.mount_layer(layer.id)
    store.close()
    assert home_mounted()
    store.unmount_layer(layer.id)
    store.close()
    store.close()
    assert not home_mounted()


def test_mount_options(peers: Peers) -> None:
    with peers.open(driver_options=("overlay.mountopt=nodev,metacopy=on",)) as store:
        layer = store.create_layer()
        root = store.mount_layer(layer.id)
        (entry,) = [one for one in list_mounts(peers.folder) if one.target == str(root)]
        # metacopy is in use where the probe says so, and never an error.
        assert "nodev" in entry.options
        store.unmount_layer(layer.id)
        with pytest.raises(DriverFailed, match="nonsense"):
            store.mount_layer(layer.id, options=["nonsense=1"])
        root = store.mount_layer(layer.id, options=["ro"])
        with pytest.raises(OSError):
            (root / "x").touch()
        store.unmount_layer(layer.id)
