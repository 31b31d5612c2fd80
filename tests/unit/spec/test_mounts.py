"""Mounts and their sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from trilby.oci import runtime
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import (
    IdMapping,
    NamespaceMode,
    NamespaceOptions,
    UserNamespace,
)
from trilby.pods.model_container import ImageSpec, Mount, Propagation
from trilby.pods.spec.host import RuntimeFeatures, parse_features
from trilby.pods.spec.mount_sources import check_propagation, mount_of, resolve_sources
from trilby.pods.spec.mounts import MountPlan, SandboxFiles, build_mounts
from trilby.system.mount_table import MountEntry, parse_mount

PLAN = MountPlan(options=NamespaceOptions())
USERNS = UserNamespace(
    mode=NamespaceMode.POD,
    uids=(IdMapping(container_id=0, host_id=100000, length=65536),),
    gids=(IdMapping(container_id=0, host_id=100000, length=65536),),
)


def at(plan: MountPlan, place: str) -> runtime.Mount:
    (found,) = [mount for mount in build_mounts(plan)[0] if mount.destination == place]
    return found


def test_the_system_mounts() -> None:
    places = [mount.destination for mount in build_mounts(PLAN)[0]]
    assert places == ["/proc", "/dev", "/sys", "/dev/pts", "/dev/mqueue", "/dev/shm",
                      "/sys/fs/cgroup"]  # fmt: skip
    assert "ro" in at(PLAN, "/sys").options and "ro" in at(PLAN, "/sys/fs/cgroup").options
    privileged = replace(PLAN, privileged=True)
    assert "rw" in at(privileged, "/sys").options
    assert "rw" in at(privileged, "/sys/fs/cgroup").options


def test_host_namespaces_change_what_is_mounted() -> None:
    host = NamespaceOptions(
        network=NamespaceMode.NODE,
        pid=NamespaceMode.NODE,
        ipc=NamespaceMode.NODE,
        userns=USERNS,
    )
    plan = replace(PLAN, options=host)
    assert at(plan, "/sys").type == at(plan, "/proc").type == at(plan, "/dev/mqueue").type == "bind"
    assert at(plan, "/dev/shm").source == "/dev/shm"
    assert not any(option.startswith("gid=") for option in at(plan, "/dev/pts").options)


def test_parents_come_before_what_is_in_them() -> None:
    asked = (
        Mount(container_path="/a/b/c", host_path="/3"),
        Mount(container_path="a/", host_path="/1"),
        Mount(container_path="/a/b", host_path="/2"),
    )
    places = [mount.destination for mount in build_mounts(replace(PLAN, mounts=asked))[0]]
    assert [place for place in places if place.startswith("/a")] == ["/a", "/a/b", "/a/b/c"]


def test_a_mount_replaces_ours() -> None:
    files = SandboxFiles(hosts="/run/hosts", resolv_conf="/run/resolv")
    asked = (
        Mount(container_path="/etc/hosts", host_path="/kubelet/hosts"),
        Mount(container_path="/dev", host_path="/dev"),
        Mount(container_path="/vol", host_path="/pod"),
    )
    plan = replace(PLAN, files=files, mounts=asked, volumes={"/vol": "/v", "/other": "/o"})
    mounts, _ = build_mounts(plan)
    assert [m.source for m in mounts if m.destination == "/etc/hosts"] == ["/kubelet/hosts"]
    assert [m.source for m in mounts if m.destination.startswith("/dev")] == ["/dev"]
    assert at(plan, "/vol").source == "/pod" and at(plan, "/other").source == "/o"
    assert at(plan, "/etc/resolv.conf").source == "/run/resolv"


def test_propagation_of_a_mount_and_the_root() -> None:
    def propagation(*kinds: Propagation) -> tuple[list[str], str]:
        asked = tuple(
            Mount(container_path=f"/m{number}", host_path="/x", propagation=kind)
            for number, kind in enumerate(kinds)
        )
        mounts, root = build_mounts(replace(PLAN, mounts=asked))
        return [m.options[1] for m in mounts if m.destination.startswith("/m")], root

    assert propagation(Propagation.PRIVATE) == (["rprivate"], "")
    assert propagation(Propagation.HOST_TO_CONTAINER) == (["rslave"], "rslave")
    both = (Propagation.HOST_TO_CONTAINER, Propagation.BIDIRECTIONAL)
    assert propagation(*both) == (["rslave", "rshared"], "rshared")


def test_a_mount_over_the_store_does_not_hold_it() -> None:
    asked = (Mount(container_path="/host", host_path="/"),)
    plan = replace(PLAN, mounts=asked, storage_root="/var/lib/containers/storage")
    assert at(plan, "/host").options == ("rbind", "rslave", "rw")


@pytest.mark.parametrize(
    "mount",
    [
        Mount(container_path="/m", host_path="/x", recursive_read_only=True),
        Mount(
            container_path="/m",
            host_path="/x",
            readonly=True,
            recursive_read_only=True,
            propagation=Propagation.HOST_TO_CONTAINER,
        ),
        Mount(container_path="", host_path="/x"),
        Mount(container_path="/", host_path="/x"),
        Mount(container_path="/m", image=ImageSpec(image="i")),
    ],
)
def test_what_cannot_be_mounted(mount: Mount) -> None:
    with pytest.raises(InvalidPodConfig):
        build_mounts(replace(PLAN, mounts=(mount,)))


def test_of_two_mounts_at_one_place_the_last_counts() -> None:
    asked = (
        Mount(container_path="/m", host_path="/x"),
        Mount(container_path="/m/", host_path="/y"),
    )
    assert at(replace(PLAN, mounts=asked), "/m").source == "/y"


def test_recursive_read_only_and_idmapped() -> None:
    mapping = (IdMapping(container_id=0, host_id=100000, length=65536),)
    asked = (
        Mount(container_path="/r", host_path="/x", readonly=True, recursive_read_only=True),
        Mount(container_path="/i", host_path="/x", uid_mappings=mapping, gid_mappings=mapping),
    )
    plan = replace(PLAN, mounts=asked, features=RuntimeFeatures())
    assert at(plan, "/r").options[-1] == "rro"
    assert at(plan, "/i").uid_mappings[0].host_id == 100000
    old = replace(plan, features=RuntimeFeatures(recursive_read_only=False))
    with pytest.raises(InvalidPodConfig, match="RROUnsupported"):
        build_mounts(old)


def test_the_runtime_tells_what_it_can() -> None:
    assert parse_features(b'{"mountOptions": ["ro", "rro"]}') == RuntimeFeatures()
    old = b'{"mountOptions": ["ro"], "linux": {}}'
    assert parse_features(old) == RuntimeFeatures(recursive_read_only=False)


def test_sources_are_resolved_and_made(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    asked = (
        Mount(container_path="/a", host_path=str(tmp_path / "link")),
        Mount(container_path="/b", host_path=str(tmp_path / "new/dir")),
    )
    found = resolve_sources(asked, {})
    assert found == {"/a": str(tmp_path / "real"), "/b": str(tmp_path / "new/dir")}
    assert (tmp_path / "new/dir").is_dir()
    absent = str(tmp_path / "never")
    with pytest.raises(InvalidPodConfig, match="does not exist"):
        resolve_sources((Mount(container_path="/a", host_path=absent),), {}, reject_absent=[absent])
    with pytest.raises(InvalidPodConfig, match="absolute"):
        resolve_sources((Mount(container_path="/a", host_path="relative"),), {})


def test_image_volumes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mount = Mount(
        container_path="/i", image=ImageSpec(image="x"), readonly=True, image_sub_path="data"
    )
    assert resolve_sources((mount,), {"/i": str(tmp_path)}) == {"/i": str(tmp_path / "data")}
    for broken, images in (
        (replace(mount, image_sub_path="no"), {"/i": str(tmp_path)}),
        (mount, {}),
    ):
        with pytest.raises(InvalidPodConfig, match="ImageVolumeMountFailed"):
            resolve_sources((broken,), images)


def table(*lines: str) -> list[MountEntry]:
    return [parse_mount(f"{n} 1 8:1 / {line} - ext4 /dev/x rw") for n, line in enumerate(lines)]


def test_propagation_needs_a_shared_source() -> None:
    mounts = table("/ rw", "/a rw shared:1", "/a/b rw master:1", "/ab rw")
    assert mount_of("/a/b/c", mounts) == mounts[2]
    assert mount_of("/abc", mounts) == mounts[0]
    both = Mount(container_path="/m", propagation=Propagation.BIDIRECTIONAL)
    one = Mount(container_path="/m", propagation=Propagation.HOST_TO_CONTAINER)
    check_propagation(both, "/a/x", mounts)
    check_propagation(one, "/a/b", mounts)
    for mount, source in ((both, "/a/b"), (both, "/x"), (one, "/ab")):
        with pytest.raises(InvalidPodConfig, match="make-rshared"):
            check_propagation(mount, source, mounts)
