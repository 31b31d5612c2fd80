"""Volumes that the engine mounts itself first: images, and paths whose owners are shifted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.pods import Place, busybox, own_engine, pod, store_rootfs

from trilby.pods.container_rootfs_store import StoreRootfs
from trilby.pods.engine import Engine
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import IdMapping, NamespaceMode, NamespaceOptions, UserNamespace
from trilby.pods.model_container import ContainerSecurity, ImageSpec, Mount
from trilby.pods.model_sandbox import SandboxSecurity
from trilby.system.mount_table import list_mounts

MAPS = (IdMapping(container_id=0, host_id=200000, length=65536),)
OPTIONS = NamespaceOptions(userns=UserNamespace(mode=NamespaceMode.POD, uids=MAPS, gids=MAPS))


async def run(engine: Engine, sandbox: str, script: str, *mounts: Mount) -> str:
    config = busybox(
        "main", "sh", "-c", script, mounts=mounts, security=ContainerSecurity(namespaces=OPTIONS)
    )
    container = await engine.create_container(sandbox, config)
    await engine.start_container(container)
    return container


async def test_owners_of_a_volume_are_shifted(store_engine: Engine, place: Place) -> None:
    """By the kernel, with any runtime: runc 1.1 knows nothing of idmapped mounts."""
    engine = store_engine
    folder = place.root / "volume"
    folder.mkdir()
    (folder / "given").write_text("x")
    os.chown(folder / "given", 7, 8)
    sandbox = await engine.run_sandbox(pod("shift", security=SandboxSecurity(namespaces=OPTIONS)))
    single = place.root / "single"
    single.write_text("one\n")
    shifted = {"uid_mappings": MAPS, "gid_mappings": MAPS}
    container = await run(
        engine,
        sandbox,
        "stat -c %u:%g /v/given /one >/v/seen; touch /v/made; cat /proc/self/uid_map >>/v/seen",
        Mount(container_path="/v", host_path=str(folder), **shifted),  # type: ignore[arg-type]
        Mount(container_path="/one", host_path=str(single), **shifted),  # type: ignore[arg-type]
    )
    assert await engine.wait_container(container) == 0, engine.container_status(container)
    seen = (folder / "seen").read_text().split("\n")
    assert seen[:2] == ["7:8", "0:0"] and seen[2].split() == ["0", "200000", "65536"]
    status = (folder / "made").stat()
    assert (status.st_uid, status.st_gid) == (0, 0)
    mounts = engine.container_status(container).mounts
    assert mounts[0].host_path == str(folder) and mounts[0].uid_mappings == MAPS
    # Nothing of it stays mounted on the host.
    assert not [entry for entry in list_mounts() if "/volume" in entry.target]


async def test_a_file_system_that_cannot_shift_is_named(engine: Engine) -> None:
    sandbox = await engine.run_sandbox(pod("shift", security=SandboxSecurity(namespaces=OPTIONS)))
    mount = Mount(container_path="/p", host_path="/proc/sys", uid_mappings=MAPS, gid_mappings=MAPS)
    with pytest.raises(InvalidPodConfig, match="/p: the owners of /proc/sys cannot be shifted"):
        await run(engine, sandbox, "true", mount)
    assert engine.list_containers(sandbox) == []


@pytest.fixture
def rootfs(place: Place, nothing_left_behind: None) -> Iterator[StoreRootfs]:
    rootfs = store_rootfs(place)
    yield rootfs
    rootfs.store.close()


async def test_an_image_is_a_volume(place: Place, rootfs: StoreRootfs) -> None:
    content = place.root / "content"
    (content / "sub").mkdir(parents=True)
    (content / "sub" / "file").write_text("from an image\n")
    image = rootfs.images.import_rootfs(str(content), "localhost/volume:1")
    async with own_engine(place, rootfs) as engine:
        sandbox = await engine.run_sandbox(pod("volume"))
        script = "cat /whole/sub/file /part/file; touch /whole/x 2>/dev/null || echo refused"
        config = busybox(
            "main",
            "sh",
            "-c",
            script,
            mounts=(
                _volume("/whole", "localhost/volume:1"),
                _volume("/part", image, "sub"),
            ),
        )
        container = await engine.create_container(sandbox, config)
        await engine.start_container(container)
        assert await engine.wait_container(container) == 0
        log = Path(engine.container_status(container).log_path).read_text()
        said = [line.split(" ", 3)[3] for line in log.splitlines()]
        assert said == ["from an image", "from an image", "refused"]
        with pytest.raises(InvalidPodConfig, match="^ImageVolumeMountFailed"):
            absent = busybox("b", mounts=(_volume("/v", "localhost/none:1"),))
            await engine.create_container(sandbox, absent)
        with pytest.raises(InvalidPodConfig, match="^ImageVolumeMountFailed"):
            absent = busybox("c", mounts=(_volume("/v", image, "none"),))
            await engine.create_container(sandbox, absent)
        await engine.remove_sandbox(sandbox)
        # It is not in use any more, also not as something mounted.
        rootfs.images.remove(["localhost/volume:1"])


def _volume(place: str, image: str, sub_path: str = "") -> Mount:
    return Mount(
        container_path=place,
        image=ImageSpec(image=image),
        image_sub_path=sub_path,
        readonly=True,
    )
