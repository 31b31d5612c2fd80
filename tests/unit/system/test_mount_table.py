"""Parsing the mount table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.system.mount_table import (
    _escape,
    _unescape,
    is_mountpoint,
    list_mounts,
    parse_mount,
)


def test_a_line() -> None:
    entry = parse_mount(
        r"36 35 98:0 /mnt1 /mnt\040two rw,noatime shared:3 master:1 - ext3 /dev/my\040root rw,errors=x"
    )
    assert (entry.id, entry.parent, entry.device, entry.root) == (36, 35, "98:0", "/mnt1")
    assert (entry.target, entry.source) == ("/mnt two", "/dev/my root")
    assert entry.options == ("rw", "noatime")
    assert (entry.fs_type, entry.super_options) == ("ext3", "rw,errors=x")
    assert (entry.peer_group, entry.master, entry.propagation) == (3, 1, "shared,slave")


def test_a_line_without_tags_or_options() -> None:
    entry = parse_mount("1 0 0:1 / / rw - rootfs none")
    assert (entry.propagation, entry.super_options) == ("private", "")
    assert parse_mount("1 0 0:1 / / rw unbindable - tmpfs  rw").source == ""


@pytest.mark.parametrize("line", ["", "1 2 3", "x 0 0:1 / / rw - a b c", "1 0 0:1 / / rw a b c"])
def test_what_is_no_line(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of mountinfo"):
        parse_mount(line)


@given(st.text())
def test_escapes_go_both_ways(text: str) -> None:
    assert _unescape(_escape(text)) == text


def test_mount_points(tmp_path: Path) -> None:
    assert is_mountpoint("/")
    assert is_mountpoint("/proc")
    assert not is_mountpoint("/proc/self")
    assert not is_mountpoint(tmp_path)
    assert not is_mountpoint(tmp_path / "missing")
    assert not is_mountpoint(tmp_path / "missing" / "more")
    (tmp_path / "link").symlink_to("/proc")
    assert not is_mountpoint(tmp_path / "link")
    (tmp_path / "file").touch()
    assert not is_mountpoint(tmp_path / "file" / "x")


def test_only_those_below(tmp_path: Path) -> None:
    assert {mount.target for mount in list_mounts("/proc")} >= {"/proc"}
    assert all(
        mount.target == "/proc" or mount.target.startswith("/proc/")
        for mount in list_mounts("/proc")
    )
    assert list_mounts(tmp_path) == []
    assert len(list_mounts("/")) == len(list_mounts()) > 1
    assert os.path.isdir(list_mounts()[-1].target) or os.path.exists(list_mounts()[-1].target)
