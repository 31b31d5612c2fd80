"""SELinux labels of files; who may not set one is not told anything by these tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.labels import label_of, need_labels

from trilby.system.labels import ATTRIBUTE, label_tree, set_label

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.fixture
def writable(tmp_path: Path) -> Path:
    """A directory in which labels can be set."""
    need_labels(tmp_path)
    return tmp_path


def test_a_tree_is_labelled_and_no_link_is_followed(writable: Path) -> None:
    outside = writable / "outside"
    outside.mkdir()
    (outside / "file").touch()
    tree = writable / "tree"
    (tree / "deep/deeper").mkdir(parents=True)
    (tree / "deep/deeper/file").touch(0o000)
    os.mkfifo(tree / "pipe")
    (tree / "out").symlink_to(outside)
    (tree / "nowhere").symlink_to("absent")
    label_tree(str(tree), LABEL)
    places = [tree, *tree.rglob("*")]
    assert len(places) == 7
    assert {label_of(place) for place in places} == {LABEL}
    assert label_of(outside) == label_of(outside / "file") == ""


def test_one_file_is_labelled(writable: Path) -> None:
    (writable / "file").touch()
    label_tree(str(writable / "file"), LABEL)
    assert label_of(writable / "file") == LABEL
    set_label(str(writable), LABEL)
    assert label_of(writable) == LABEL


def test_a_label_that_is_there_is_not_written_again(writable: Path) -> None:
    file = writable / "file"
    file.touch()
    os.setxattr(file, ATTRIBUTE, LABEL.encode() + b"\0")
    before = file.stat().st_ctime_ns
    label_tree(str(writable), LABEL)
    assert file.stat().st_ctime_ns == before


def test_deep_trees_take_no_descriptor_each(writable: Path) -> None:
    place = writable
    for _ in range(300):
        place = place / "d"
        place.mkdir()
    label_tree(str(writable), LABEL)
    assert label_of(place) == LABEL


def test_file_systems_without_labels_are_left_alone() -> None:
    label_tree("/proc/self/fdinfo", LABEL)
    with pytest.raises(FileNotFoundError):
        set_label("/proc/absent", LABEL)
