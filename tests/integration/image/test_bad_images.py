"""Bad images, full disks, kills and Ctrl-C: one clear error, and nothing is left in the store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.image_ends import MemorySource
from tests.support.images import Blob, SampleImage, make_image, make_tar, small_image
from tests.support.registry import TestRegistry
from tests.support.store import Peers

from trilby.errors import Corrupt, NotFound, StorageFailure, TrilbyError
from trilby.image.context import ImageContext
from trilby.image.copy import copy_image
from trilby.image.progress import BlobProgress, Event
from trilby.image.service import Images
from trilby.image.transport import MANIFEST_LIMIT, open_destination
from trilby.image.transports.storage_write import StorageDestination
from trilby.storage.store import Store
from trilby.system.mounts import TmpfsMount

#: Large enough for a worker process, incompressible, so that it takes several reads.
LARGE = random.Random(1).randbytes(6_000_000)


def snapshot(root: str) -> set[str]:
    """All paths of the store, but for the files that every opened store has."""
    return {
        os.path.join(folder, name)
        for folder, folders, files in os.walk(root)
        for name in [*folders, *files]
        if not name.endswith(".lock")
    }


def assert_empty(store: Store, before: set[str]) -> None:
    assert store.images() == [] and store.layers() == []
    left = snapshot(store.config.graphroot) - before
    left = {path for path in left if not path.endswith((".json", "/tmp", "/tempdirs", "/l"))}
    assert left == set()


async def store_image(store: Store, source: MemorySource) -> None:
    destination = StorageDestination(store, None, more_names=("localhost/bad:1",))
    try:
        await copy_image(source, destination)
    finally:
        await destination.close()


def damaged(image: SampleImage, position: int) -> MemorySource:
    source = MemorySource(image)
    data = bytearray(source.blobs[image.layers[1].digest])
    data[position] ^= 0x40
    source.blobs[image.layers[1].digest] = bytes(data)
    return source


def cut(image: SampleImage) -> MemorySource:
    source = MemorySource(image)
    source.blobs[image.layers[1].digest] = image.layers[1].data[:-20]
    return source


def stump(length: int) -> MemorySource:
    """A large layer of which next to nothing comes."""
    image = large_image()
    source = MemorySource(image)
    source.blobs[image.layers[1].digest] = image.layers[1].data[:length]
    return source


def other_bytes(image: SampleImage) -> MemorySource:
    source = MemorySource(image)
    source.blobs[image.layers[1].digest] = image.layers[0].data
    return source


def large_image() -> SampleImage:
    return make_image([make_tar({"a": LARGE}), make_tar({"b": LARGE[::-1], "c": b"c"})])


def endless(image: SampleImage) -> MemorySource:
    source = MemorySource(image)
    source.blobs[image.layers[1].digest] += bytes(5_000_000)
    return source


def wrong_diff_id() -> MemorySource:
    tars = [make_tar({"a": b"a"}), make_tar({"b": b"b"})]
    real = make_image(tars)
    return MemorySource(make_image(tars, diff_ids=[real.diff_ids[0], "sha256:" + "1" * 64]))


def escaping() -> MemorySource:
    return MemorySource(make_image([make_tar({"a": b"a"}), make_tar({"../../evil": b"evil"})]))


BAD: dict[str, Callable[[], MemorySource]] = {
    "damaged gzip": lambda: damaged(large_image(), 3_000_000),
    "damaged checksum": lambda: damaged(small_image(), -6),
    "cut off": lambda: cut(large_image()),
    "nothing at all": lambda: stump(0),
    "less than a magic number": lambda: stump(3),
    "endless": lambda: endless(small_image()),
    "other bytes": lambda: other_bytes(small_image()),
    "wrong diff id": wrong_diff_id,
    "no archive": lambda: MemorySource(make_image([make_tar({"a": b"a"}), b"text" * 400])),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_layer(case: str, store: Store) -> None:
    before = snapshot(store.config.graphroot)
    with pytest.raises(Corrupt) as caught:
        await store_image(store, BAD[case]())
    assert caught.value.hint, caught.value.message
    assert_empty(store, before)


async def test_a_layer_cannot_leave_its_directory(store: Store, tmp_path: Path) -> None:
    with contextlib.suppress(TrilbyError):
        await store_image(store, escaping())
    assert list(Path(store.config.graphroot).rglob("evil")) in ([], _inside(store))


def _inside(store: Store) -> list[Path]:
    """Where a layer may have the file: in its own diff directory, with the dots dropped."""
    return [
        Path(store.config.graphroot, "overlay", layer.id, "diff", "evil")
        for layer in store.layers()
        if "evil" in os.listdir(Path(store.config.graphroot, "overlay", layer.id, "diff"))
    ]


async def test_a_manifest_too_large(store: Store) -> None:
    source = MemorySource(small_image())
    source.top += b" " * MANIFEST_LIMIT
    with pytest.raises(Corrupt, match="longer than the limit"):
        await store_image(store, source)


async def test_a_missing_config_and_a_missing_layer(store: Store) -> None:
    before = snapshot(store.config.graphroot)
    for victim in (small_image().config, small_image().layers[1]):
        source = MemorySource(small_image())
        del source.blobs[victim.digest]
        with pytest.raises(NotFound):
            await store_image(store, source)
        assert_empty(store, before)


async def test_an_artifact_is_not_stored(store: Store) -> None:
    config = Blob("application/vnd.oci.empty.v1+json", b"{}")
    layer = Blob("application/vnd.example", b"anything")
    manifest = {"schemaVersion": 2, "config": config.descriptor(), "layers": [layer.descriptor()]}
    kind = "application/vnd.oci.image.manifest.v1+json"
    blob = Blob(kind, json.dumps({**manifest, "mediaType": kind}).encode())
    with pytest.raises(TrilbyError, match="artifact"):
        await store_image(store, MemorySource(SampleImage(blob, config, [layer], [], {})))
    assert store.images() == []


async def test_a_registry_that_serves_other_bytes(
    images: Images, registry: TestRegistry, context: ImageContext
) -> None:
    image = small_image(text="tampered")
    name = f"{registry.address}/tampered:1"
    writer = await open_destination(f"docker://{name}", context)
    await copy_image(MemorySource(image), writer)
    await writer.close()
    blob = registry.blob_path(image.layers[0].digest)
    blob.write_bytes(blob.read_bytes()[::-1])
    before = snapshot(images.store.config.graphroot)
    with pytest.raises(Corrupt):
        await images.pull(name)
    assert_empty(images.store, before)


@pytest.fixture
def tiny_disk(short_path: Path) -> Iterator[Peers]:
    """A store on a file system of 4 MB."""
    place = short_path / "tiny"
    place.mkdir()
    mount = TmpfsMount(str(place), size=4_000_000)
    mount.mount()
    yield Peers(place)
    mount.unmount()


async def test_a_full_disk(tiny_disk: Peers) -> None:
    store = tiny_disk.open()
    before = snapshot(store.config.graphroot)
    with pytest.raises(StorageFailure) as caught:
        await store_image(store, MemorySource(large_image()))
    assert "space" in str(caught.value).lower() or "disk" in str(caught.value).lower()
    assert_empty(store, before)
    await store_image(store, MemorySource(small_image()))
    assert len(store.images()) == 1
    store.close()


@pytest.mark.parametrize("transport", ["dir", "oci", "oci-archive", "docker-archive"])
async def test_a_full_disk_for_files(
    transport: str, tiny_disk: Peers, context: ImageContext
) -> None:
    before = snapshot(str(tiny_disk.folder))
    writer = await open_destination(f"{transport}:{tiny_disk.folder}/image", context)
    with pytest.raises(StorageFailure, match="No space left"):
        try:
            await copy_image(MemorySource(large_image()), writer)
        finally:
            await writer.close()
    assert snapshot(str(tiny_disk.folder)) == before


async def test_cancelling_a_pull(
    images: Images, registry: TestRegistry, context: ImageContext
) -> None:
    name = f"{registry.address}/cancelled:1"
    writer = await open_destination(f"docker://{name}", context)
    await copy_image(MemorySource(large_image()), writer)
    await writer.close()
    before = snapshot(images.store.config.graphroot)
    begun = asyncio.Event()

    def progress(event: Event) -> None:
        if isinstance(event, BlobProgress):
            begun.set()

    first = asyncio.ensure_future(images.pull(name, progress=progress))
    second = asyncio.ensure_future(images.pull(name))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await second).name == name, "others who wait for the same image get it"
    images.remove([name])
    begun.clear()
    third = asyncio.ensure_future(images.pull(name, progress=progress))
    await begun.wait()
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert_empty(images.store, before)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("layer")] == []


PULL = """
import asyncio, sys
from trilby.image.context import ImageContext
from trilby.image.progress import BlobProgress
from trilby.image.service import Images
from trilby.storage.config import StorageConfig
from trilby.storage.store import Store

def progress(event):
    if isinstance(event, BlobProgress):
        print("begun", flush=True)
        sys.stdin.read()

root, runroot, name, conf = sys.argv[1:]
store = Store.open(StorageConfig(root, runroot, "overlay"))
context = ImageContext(tls_verify=False, insecure_policy=True, registries_conf=conf)
asyncio.run(Images(store, context).pull(name, progress=progress))
"""


async def test_killed_in_a_pull(
    peers: Peers, registry: TestRegistry, context: ImageContext, tmp_path: Path
) -> None:
    name = f"{registry.address}/killed:1"
    writer = await open_destination(f"docker://{name}", context)
    await copy_image(MemorySource(large_image()), writer)
    await writer.close()
    store = peers.open()
    before = snapshot(store.config.graphroot)
    arguments = [str(peers.graphroot), str(peers.runroot), name, str(context.registries_conf)]
    kill_in_a_pull(arguments)
    store.recover()
    assert_empty(store, before)
    images = Images(store, context)
    assert (await images.pull(name)).changed
    store.close()


def kill_in_a_pull(arguments: list[str]) -> None:
    """Kill it in the midst, and wait for its workers, which end at their input's end."""
    with subprocess.Popen(
        [sys.executable, "-c", PULL, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        # It starts no more of them meanwhile; one may not have come to its job yet.
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        workers = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
    for pidfd in workers:
        ended = select.select([pidfd], [], [], 20)[0]
        os.close(pidfd)
        assert ended, "a worker goes on without its caller"


def children_of(pid: int) -> list[int]:
    """A pidfd for each child of any thread of a process that is stopped."""
    listed = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [os.pidfd_open(int(child)) for text in listed for child in text.split()]
