"""Users and groups resolved in an image's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import SupplementalGroupsPolicy
from trilby.pods.model_container import ContainerSecurity
from trilby.pods.spec.rootfs_files import directory_in_root, read_in_root
from trilby.pods.spec.users import parse_group, parse_passwd, resolve_user, wanted_user

PASSWD = "root:x:0:0:root:/root:/bin/sh\n# comment:x:1:1\nweb:x:1500:1600::/:/bin/sh\nbroken\n"
GROUP = "root:x:0:\nweb:x:1600:\nextra:x:1700:other, web\nlast:x:1800:web"


@pytest.mark.parametrize(
    ("security", "image", "expected"),
    [
        (ContainerSecurity(), "", (0, 0, (0,))),
        (ContainerSecurity(), "web", (1500, 1600, (1600, 1700, 1800))),
        (ContainerSecurity(), "web:extra", (1500, 1700, (1700, 1800))),
        (ContainerSecurity(), "1500", (1500, 1600, (1600, 1700, 1800))),
        (ContainerSecurity(), "4000", (4000, 0, (0,))),
        (ContainerSecurity(), "4000:5000", (4000, 5000, (5000,))),
        (ContainerSecurity(run_as_user=0), "web", (0, 0, (0,))),
        (ContainerSecurity(run_as_username="web"), "", (1500, 1600, (1600, 1700, 1800))),
        (ContainerSecurity(run_as_user=1500, run_as_group=7), "x:y", (1500, 7, (7, 1700, 1800))),
        (
            ContainerSecurity(
                supplemental_groups=(9, 1600),
                supplemental_groups_policy=SupplementalGroupsPolicy.STRICT,
            ),
            "web",
            (1500, 1600, (1600, 9)),
        ),
        (
            ContainerSecurity(supplemental_groups=(9,)),
            "web",
            (1500, 1600, (1600, 1700, 1800, 9)),
        ),
    ],
)
def test_the_rules_of_the_cri(
    security: ContainerSecurity, image: str, expected: tuple[int, int, tuple[int, ...]]
) -> None:
    user = resolve_user(security, image, PASSWD, GROUP)
    assert (user.uid, user.gid, user.groups) == expected


@pytest.mark.parametrize("image", ["nobody", "web:nogroup", "4294967295", "-1", "0:99999999999"])
def test_unknown_names_and_ids_out_of_range(image: str) -> None:
    with pytest.raises(InvalidPodConfig):
        resolve_user(ContainerSecurity(), image, PASSWD, GROUP)


def test_a_group_without_a_user_is_refused() -> None:
    with pytest.raises(InvalidPodConfig, match="run_as_group"):
        wanted_user(ContainerSecurity(run_as_group=5), "web")


def test_a_line_for_a_uid_that_the_image_does_not_know() -> None:
    unknown = resolve_user(ContainerSecurity(run_as_user=4000), "", PASSWD, GROUP)
    assert unknown.passwd_line.split(":")[:4] == ["4000", "x", "4000", "0"]
    assert not resolve_user(ContainerSecurity(), "web", PASSWD, GROUP).passwd_line
    assert not resolve_user(ContainerSecurity(run_as_user=4000), "", "", "").passwd_line


@given(st.text(), st.text(), st.text())
def test_whatever_the_files_hold(passwd: str, group: str, image: str) -> None:
    list(parse_passwd(passwd)), list(parse_group(group))
    try:
        user = resolve_user(ContainerSecurity(), image, passwd, group)
    except InvalidPodConfig:
        return
    assert user.groups[0] == user.gid


def test_links_cannot_lead_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("outside")
    (root / "secret").write_text("inside")
    (root / "etc/passwd").symlink_to("../../secret")
    (root / "etc/group").symlink_to("/secret")
    assert read_in_root(str(root), "/etc/passwd") == "inside"
    assert read_in_root(str(root), "/etc/group") == "inside"
    assert read_in_root(str(root), "/etc/absent") == ""


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"x" * ((4 << 20) + 1))
    assert read_in_root(str(tmp_path), "/fifo") == ""
    assert read_in_root(str(tmp_path), "/") == ""
    with pytest.raises(InvalidPodConfig, match="larger"):
        read_in_root(str(tmp_path), "/large")


def test_a_sub_path_stays_below(tmp_path: Path) -> None:
    (tmp_path / "image/dir").mkdir(parents=True)
    (tmp_path / "image/up").symlink_to("../../../image")
    assert directory_in_root(str(tmp_path / "image"), "dir") == str(tmp_path / "image/dir")
    with pytest.raises(InvalidPodConfig):
        directory_in_root(str(tmp_path / "image"), "up")
