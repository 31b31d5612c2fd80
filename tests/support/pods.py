"""An engine of a test's own: roots, bridge, subnet and cgroup parent that no other run has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from trilby.image.context import ImageContext
from trilby.image.service import Images
from trilby.oci.image import ContainerDefaults, ImageConfig
from trilby.pods.config import CgroupManager, EngineConfig, RuntimeHandler
from trilby.pods.container_rootfs import IdMappings, ImageFacts, RootfsProvider
from trilby.pods.container_rootfs_store import StoreRootfs
from trilby.pods.engine import Engine
from trilby.pods.model_container import ContainerConfig, ImageSpec
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.network import masquerade
from trilby.pods.network.builtin import BuiltinNetwork
from trilby.pods.sandbox_cgroup import whole_cgroup
from trilby.pods.spec.security import Labels
from trilby.storage.config import StorageConfig
from trilby.storage.store import Store
from trilby.system.mount_table import unmount_tree

BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh ash cat echo sleep true false env id ls mount ps kill mkdir rm touch stat hostname ip nc "
    "httpd wget yes head tail dd seq tty stty sync wc grep sed test printf ln readlink uname df "
    "cp tar"
).split()
FOLDERS = ("bin", "proc", "dev", "sys", "tmp", "etc", "run")
PASSWD = "root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:\n"
GROUP = "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"


class Place(msgspec.Struct, frozen=True):
    """What is this run's own: a tag of four hex digits in every name."""

    tag: str
    root: Path

    @property
    def bridge(self) -> str:
        return f"tt{self.tag}"

    @property
    def cgroup_parent(self) -> str:
        return f"/trilby-test-{self.tag}"

    @property
    def subnet(self) -> str:
        return f"10.{100 + int(self.tag[:2], 16) % 100}.{int(self.tag[2:], 16)}.0/24"


class DirectoryRootfs:
    """Every image is busybox: each container gets its own directory, with the program linked in."""

    def __init__(self, directory: Path, image: ContainerDefaults | None = None) -> None:
        self.directory = directory
        self.image = image or ContainerDefaults(env=("PATH=/bin",), cmd=("sh",))
        directory.mkdir(parents=True, exist_ok=True)

    def create(
        self,
        container_id: str,
        full_name: str,
        image: str,
        metadata: str,
        ids: IdMappings,
        labels: Labels,
    ) -> ImageFacts:
        root = self.directory / container_id
        for name in FOLDERS:
            (root / name).mkdir(parents=True)
        program = self.directory / "busybox"
        if not program.exists():
            shutil.copy(BUSYBOX, program)
        os.link(program, root / "bin" / "busybox")
        for applet in APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        (root / "etc" / "passwd").write_text(PASSWD)
        (root / "etc" / "group").write_text(GROUP)
        return ImageFacts(id="0" * 64, ref="", config=ImageConfig(config=self.image))

    def mount(self, container_id: str) -> str:
        return str(self.directory / container_id)

    def remove(self, container_id: str) -> None:
        shutil.rmtree(self.directory / container_id, ignore_errors=True)

    def mount_image(self, image: str) -> str:
        raise NotImplementedError

    def unmount_image(self, image: str) -> None:
        raise NotImplementedError

    def usage(self, container_id: str) -> tuple[str, int, int]:
        found = [path.lstat().st_size for path in (self.directory / container_id).rglob("*")]
        return str(self.directory), sum(found), len(found)

    def leftovers(self, known: set[str]) -> list[str]:
        names = [path.name for path in self.directory.iterdir() if path.is_dir()]
        return [name for name in names if name not in known]


def make_config(place: Place, **changes: object) -> EngineConfig:
    """Settings that keep to the place."""
    config = EngineConfig(
        root=str(place.root / "s" / "trilby"),
        run_root=str(place.root / "r"),
        runtimes={"runc": RuntimeHandler(name="runc"), "crun": RuntimeHandler(name="crun")},
        default_runtime="runc",
        cgroup_manager=CgroupManager.CGROUPFS,
        cgroup_parent=place.cgroup_parent,
        cni_config_dirs=(str(place.root / "net.d"),),
        cni_plugin_dirs=("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"),
        cni_cache_dir=str(place.root / "cni"),
        bridge_name=place.bridge,
        bridge_subnet=place.subnet,
        bridge_subnet_v6="",
        bridge_data_dir=str(place.root / "ipam"),
    )
    return msgspec.structs.replace(config, **changes)


@contextmanager
def own_place(root: Path) -> Iterator[Place]:
    """A place; its bridge and rules go at the end, and what a failed test has left."""
    place = Place(os.urandom(2).hex(), root)
    try:
        yield place
    finally:
        cgroup = whole_cgroup(place.cgroup_parent)
        if cgroup.exists():
            cgroup.kill_all()
            cgroup.remove()
        unmount_tree(str(root))
        network = BuiltinNetwork(bridge=place.bridge, subnet_v4=place.subnet, subnet_v6="")
        for rule in masquerade.rules(network):
            while subprocess.run(rule.command("-D"), stderr=subprocess.DEVNULL).returncode == 0:
                pass
        subprocess.run(["ip", "link", "delete", place.bridge], stderr=subprocess.DEVNULL)


def busybox_files() -> dict[str, bytes | str]:
    """The content of a busybox image, for tests.support.store.layer_tar."""
    files: dict[str, bytes | str] = {f"{name}/": b"" for name in FOLDERS}
    files["bin/busybox"] = Path(BUSYBOX).read_bytes()
    files |= {f"bin/{applet}": "busybox" for applet in APPLETS}
    return files | {"etc/passwd": PASSWD.encode(), "etc/group": GROUP.encode()}


def store_rootfs(place: Place) -> StoreRootfs:
    """A store of the place's own with the image ``busybox``."""
    from tests.support.store import add_image, layer_tar

    config = StorageConfig(
        graphroot=str(place.root / "s"), runroot=str(place.root / "rs"), driver="overlay"
    )
    store = Store.open(config)
    if not store.images():
        layer = layer_tar(dict(busybox_files()))
        add_image(store, "docker.io/library/busybox:latest", [layer])
    return StoreRootfs(store, Images(store, ImageContext()), str(place.root / "s" / "trilby"))


@asynccontextmanager
async def own_engine(
    place: Place, rootfs: RootfsProvider | None = None, **changes: object
) -> AsyncIterator[Engine]:
    """A started engine; at the end all its sandboxes are removed."""
    rootfs = rootfs or DirectoryRootfs(place.root / "rootfs")
    engine = Engine(make_config(place, **changes), rootfs)
    await engine.start()
    try:
        yield engine
    finally:
        for sandbox in engine.list_sandboxes():
            await engine.remove_sandbox(sandbox.id)
        await engine.close()


def pod(name: str = "pod", **changes: object) -> SandboxConfig:
    """A sandbox' configuration with a uid of its own."""
    config = SandboxConfig(name=name, uid=os.urandom(8).hex(), namespace="test")
    return msgspec.structs.replace(config, **changes)


def busybox(name: str = "main", *command: str, **changes: object) -> ContainerConfig:
    """A container's configuration; without a command it sleeps."""
    config = ContainerConfig(
        name=name,
        image=ImageSpec(image="busybox"),
        command=command or ("sleep", "1000"),
    )
    return msgspec.structs.replace(config, **changes)
