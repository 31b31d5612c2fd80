"""Kill a process at each of its changes of the file system in turn, and look at the store.

Run as ``python -m tests.support.store_crash FOLDER SCENARIO``: a process of one thread forks a
child for every step; the child kills itself right before that step. Prints how many steps.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.store import Peers, add_image, digest, docker_archive, layer_tar

from trilby.storage.store import Recovered, Store

# Audit events of calls that change the file system; open is one if it may write.
CHANGES = frozenset(
    {"os.rename", "os.mkdir", "os.symlink", "os.link", "os.chmod", "os.chown", "os.remove"}
    | {"os.rmdir", "os.truncate", "os.setxattr"}
)
LAYERS = [
    layer_tar({"a": b"1", "d/": b"", "d/x": b"2"}),
    layer_tar({"d/.wh.x": b"", "e/": b"", "e/.wh..wh..opq": b"", "e/f": b"3" * 5000}),
]
NAME = "localhost/thing:latest"


def die_at(step: int) -> None:
    """Kill this process right before its ``step``th change."""
    left = step

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if writes or event in CHANGES:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def add(peers: Peers) -> None:
    with peers.open() as store:
        add_image(store, NAME, LAYERS)


def remove(peers: Peers) -> None:
    with peers.open() as store:
        store.delete_image(NAME)


def container(peers: Peers) -> None:
    with peers.open() as store:
        store.create_container("c" * 64, image=NAME)
        store.container_dir("c" * 64)
        store.delete_container("c" * 64)


def check_layers(store: Store) -> None:
    """What the store says it has must be all there."""
    for layer in store.layers():
        if layer.diff_id:
            with store.export_layer(layer.id) as stream:
                assert digest(stream.read()) == layer.diff_id, layer
    for image in store.images():
        assert store.layer(image.top_layer), image
        for key in image.big_data_names:
            assert len(store.image_big_data(image.id, key)) == image.big_data_sizes[key]
    for one in store.containers():
        assert store.layer(one.layer_id) or one.id == "c" * 64, one


def tree(folder: Path) -> list[str]:
    """All names below the store's own directories, but for locks, records and short links."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.glob("overlay*/**/*")
        if not path.name.endswith((".lock", ".json"))
        if path.parent.name != "l"
        and path.name not in ("l", "tempdirs", "tmp", ".has-mount-program")
    )


def run(folder: Path, scenario: str) -> int:
    """Steps until the scenario came to its end."""
    action: Callable[[Peers], None] = {"add": add, "remove": remove, "container": container}[
        scenario
    ]
    peers = Peers(folder)
    if scenario != "add":
        add(peers)
    before = tree(peers.graphroot)
    for step in range(10_000):
        child = os.fork()
        if child == 0:
            try:
                die_at(step)
                action(peers)
                os._exit(0)
            except BaseException as error:
                sys.stderr.write(f"step {step}: {error!r}\n")
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), f"step {step}: {status}"
        inspect(peers, step)
        if scenario == "add" and step % 12 == 3:
            let_others_add(peers, step)
        repair(peers, scenario, step, before)
        if status == 0:
            return step
    raise AssertionError("it never came to its end")


def inspect(peers: Peers, step: int) -> None:
    """As the kill left it, before anybody repaired: usable by us and by podman."""
    with peers.open() as store:
        check_layers(store)
        if step % 8 == 0:
            peers.podman("images")
            peers.podman("ps", "--all", "--external")
            check_layers(store)


def let_others_add(peers: Peers, step: int) -> None:
    """podman or skopeo stores the same layers over what the kill left."""
    archive = docker_archive(peers.folder / "archive.tar", "localhost/other:1", LAYERS)
    if step % 24 == 3:
        peers.podman("load", "--input", str(archive))
    else:
        target = peers.storage_reference("localhost/other:1")
        peers.skopeo("copy", f"docker-archive:{archive}", target)
    with peers.open() as store:
        check_layers(store)
        image = store.image("localhost/other:1")
        assert image is not None
        peers.podman("untag", "localhost/other:1")
        if not (store.image(image.id) or image).names:
            peers.podman("rmi", image.id)
    archive.unlink()


def repair(peers: Peers, scenario: str, step: int, before: list[str]) -> None:
    """The same again works, and then nothing is left over."""
    with peers.open() as store:
        if step % 2 == 0:
            store.recover()
        if scenario == "container":
            for one in store.containers():
                store.delete_container(one.id)
        elif scenario == "add":
            add_image(store, NAME, LAYERS)
            check_layers(store)
            store.delete_image(NAME)
            for layer in [*reversed(store.layers())]:
                store.delete_layer(layer.id)
        else:
            if store.image(NAME) is None:
                # The kill came between the image and its layers.
                for layer in [*reversed(store.layers())]:
                    store.delete_layer(layer.id)
            add_image(store, NAME, LAYERS)
        store.recover()
        check_layers(store)
        assert store.recover() == Recovered(), f"step {step}"
        assert store.check(contents=True).sound, f"step {step}: {store.check()}"
    extra = set(tree(peers.graphroot)) - set(before)
    assert not extra, f"step {step}: {sorted(extra)[:10]}"
    dangling = [link for link in peers.graphroot.glob("overlay/l/*") if not link.exists()]
    assert not dangling, f"step {step}: {dangling}"
    leftovers = [*peers.graphroot.glob("overlay/tempdirs/*"), *peers.graphroot.glob("*/.*tmp*")]
    assert not leftovers, f"step {step}: {leftovers}"


if __name__ == "__main__":
    sys.stdout.write(f"{run(Path(sys.argv[1]), sys.argv[2])}\n")
