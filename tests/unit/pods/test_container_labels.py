"""What a container is given gets its label, where the caller says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.labels import label_of, need_labels

from trilby.oci.runtime import Mount as OciMount
from trilby.oci.runtime import Spec
from trilby.pods.container_labels import label_mounts
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import SELinuxOptions
from trilby.pods.model_container import ContainerConfig, ContainerSecurity, ImageSpec, Mount
from trilby.pods.spec.security import Labels

LABELS = Labels(
    "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"
)


def bind(place: str, source: Path) -> OciMount:
    return OciMount(place, "bind", str(source), ("rbind",))


def config(*mounts: Mount, kind: str = "") -> ContainerConfig:
    security = ContainerSecurity(selinux=SELinuxOptions(type=kind) if kind else None)
    return ContainerConfig(
        name="main", image=ImageSpec(image="busybox"), mounts=mounts, security=security
    )


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Directories of the host, where labels can be set."""
    need_labels(tmp_path)
    for name in ("wanted", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "resolv.conf").touch()
    return tmp_path


def spec_of(host: Path) -> Spec:
    return Spec(
        oci_version="1.0.2",
        mounts=(
            OciMount("/proc", "proc", "proc"),
            bind("/etc/resolv.conf", host / "resolv.conf"),
            bind("/wanted", host / "wanted"),
            bind("/other", host / "other"),
        ),
    )


def mounts_of(host: Path) -> tuple[Mount, Mount]:
    return (
        Mount(container_path="/wanted", host_path=str(host / "wanted"), selinux_relabel=True),
        Mount(container_path="/other", host_path=str(host / "other")),
    )


def test_what_is_asked_for_and_what_is_ours(host: Path) -> None:
    label_mounts(spec_of(host), config(*mounts_of(host)), LABELS)
    for place in ("resolv.conf", "wanted", "wanted/file"):
        assert label_of(host / place) == LABELS.mount
    for place in ("other", "other/file"):
        assert label_of(host / place) == ""


def test_nothing_without_selinux(host: Path) -> None:
    label_mounts(spec_of(host), config(*mounts_of(host)), Labels())
    assert label_of(host / "wanted") == label_of(host / "resolv.conf") == ""


def test_nothing_of_the_pod_for_who_may_do_all(host: Path) -> None:
    label_mounts(spec_of(host), config(*mounts_of(host), kind="spc_t"), LABELS)
    assert label_of(host / "wanted") == ""


@pytest.mark.parametrize("place", ["/etc", "/usr", "/"])
def test_places_of_the_host_keep_theirs(place: str) -> None:
    wish = Mount(container_path="/host", host_path=place, selinux_relabel=True)
    spec = Spec(oci_version="1.0.2", mounts=(bind("/host", Path(place)),))
    with pytest.raises(InvalidPodConfig, match=f"mount /host: {place} is not given another"):
        label_mounts(spec, config(wish), LABELS)


def test_a_mount_that_is_gone_says_which(tmp_path: Path) -> None:
    wish = Mount(container_path="/x", host_path=str(tmp_path / "x"), selinux_relabel=True)
    spec = Spec(oci_version="1.0.2", mounts=(bind("/x", tmp_path / "x"),))
    with pytest.raises(InvalidPodConfig, match=r"mount /x: .* cannot get the label"):
        label_mounts(spec, config(wish), LABELS)
