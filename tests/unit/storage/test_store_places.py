"""Big data names, temporary directories and overlay's short names."""

from __future__ import annotations

import base64
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.storage.bigdata import BigData, digest_of, file_name
from trilby.storage.drivers.overlaylinks import Links, new_link
from trilby.storage.errors import BigDataNotFound, DriverFailed, InvalidName, LayerNotFound
from trilby.storage.tempdirs import TempRoot


def test_names_as_podman_makes_them() -> None:
    assert file_name("manifest") == "manifest"
    assert file_name("signatures") == "signatures"
    assert file_name("chunked-manifest-cache") == "=Y2h1bmtlZC1tYW5pZmVzdC1jYWNoZQ=="
    assert file_name("sha256:0123").startswith("=c2hhMjU2OjAxMjM")


@given(st.text(max_size=200))
def test_a_name_is_one_component(key: str) -> None:
    try:
        name = file_name(key)
    except InvalidName:
        return
    assert "/" not in name and name not in ("", ".", "..") and len(name.encode()) < 256
    assert name == key or base64.b64decode(name[1:]).decode() == key


def test_big_data(tmp_path: Path) -> None:
    data = BigData(str(tmp_path))
    data.write("a" * 64, "manifest", b"{}")
    assert data.read("a" * 64, "manifest") == b"{}"
    assert (tmp_path / ("a" * 64) / "manifest").stat().st_mode & 0o777 == 0o600
    with pytest.raises(BigDataNotFound):
        data.read("a" * 64, "other")
    data.delete("a" * 64)
    data.delete("a" * 64)
    assert os.listdir(tmp_path) == []
    assert digest_of("manifest", b"") == (
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_a_temporary_directory_leaves_nothing(tmp_path: Path) -> None:
    root = TempRoot(str(tmp_path / "tmp"))
    with root.directory() as one, root.directory() as two:
        assert one.path != two.path
        (tmp_path / "thing").write_text("x")
        one.take(str(tmp_path / "thing"))
        one.take(str(tmp_path / "no such thing"))
        assert not (tmp_path / "thing").exists()
        assert root.remove_dead() == [] and TempRoot(root.root).remove_dead() == []
        assert os.path.isdir(one.path)
    assert os.listdir(root.root) == []
    with root.directory() as again:
        assert os.path.isdir(again.path)
    assert os.listdir(root.root) == []


def stage(root: str, ready: Connection) -> None:
    directory = TempRoot(root).directory()
    Path(directory.path, "content").write_text("x")
    ready.send(directory.path)
    signal.pause()


def test_a_dead_owners_directory_is_removed(tmp_path: Path) -> None:
    root = str(tmp_path / "tmp")
    here, there = multiprocessing.Pipe()
    owner = multiprocessing.get_context("spawn").Process(target=stage, args=(root, there))
    owner.start()
    path = here.recv()
    assert TempRoot(root).remove_dead() == [] and os.path.exists(path)
    owner.kill()
    owner.join()
    owner.close()
    assert TempRoot(root).remove_dead() == [os.path.dirname(path)]
    assert os.listdir(root) == []


def test_directories_without_a_lock_are_dead(tmp_path: Path) -> None:
    (tmp_path / "temp-dir-x" / "0-addition").mkdir(parents=True)
    (tmp_path / "lock-y").touch()
    assert TempRoot(str(tmp_path)).remove_dead() == [str(tmp_path / "temp-dir-x")]
    assert os.listdir(tmp_path) == []


def test_link_names() -> None:
    names = {new_link() for _ in range(50)}
    assert len(names) == 50
    assert all(len(name) == 26 and name.isalnum() and name.isupper() for name in names)


def make_layer(links: Links, home: Path, identity: str, parent: str = "") -> str:
    folder = home / identity
    (folder / "diff").mkdir(parents=True)
    link = new_link()
    (folder / "link").write_text(link)
    if parent:
        (folder / "lower").write_text(links.lower_text(parent))
    links.make(identity, link)
    return link


def test_lower_directories(tmp_path: Path) -> None:
    one, two, three = "1" * 64, "2" * 64, "3" * 64
    links = Links(str(tmp_path))
    first = make_layer(links, tmp_path, one)
    second = make_layer(links, tmp_path, two, one)
    make_layer(links, tmp_path, three, two)
    assert (tmp_path / three / "lower").read_text() == f"l/{second}:l/{first}"
    assert os.readlink(tmp_path / "l" / first) == f"../{one}/diff"
    assert links.lowers(three) == [f"{tmp_path}/l/{second}", f"{tmp_path}/l/{first}"]
    # Older contents of a layer whose owners were shifted lie directly below it.
    (tmp_path / two / "diff1").mkdir()
    assert links.lowers(three)[1] == f"{tmp_path}/{two}/diff1"


def test_lost_links_are_made_again(tmp_path: Path) -> None:
    one, two = "1" * 64, "2" * 64
    links = Links(str(tmp_path))
    first = make_layer(links, tmp_path, one)
    make_layer(links, tmp_path, two, one)
    (tmp_path / "l" / first).unlink()
    assert links.lowers(two) == [f"{tmp_path}/l/{first}"]
    (tmp_path / one / "link").unlink()
    assert links.link_of(one) == first
    (tmp_path / one / "link").unlink()
    (tmp_path / "l" / first).unlink()
    with pytest.raises(DriverFailed, match=first):
        links.lowers(two)
    with pytest.raises(LayerNotFound):
        links.lowers("4" * 64)


def test_links_of_additional_stores(tmp_path: Path) -> None:
    other, own = tmp_path / "other", tmp_path / "own"
    one, two = "1" * 64, "2" * 64
    first = make_layer(Links(str(other)), other, one)
    links = Links(str(own), [str(other)])
    make_layer(links, own, two, one)
    assert links.lowers(two) == [f"{other}/l/{first}"]
