"""Atomic writes, bounded reads, owned descriptors, tree removal."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trilby.system.errors import HostError
from trilby.system.files import (
    Fd,
    atomic_file,
    atomic_write,
    read_all,
    read_bytes_limited,
    read_file,
    remove_temporaries,
    remove_tree,
    sync_fs,
    write_all,
)

KILLED = """
import os, sys
from trilby.system.files import atomic_file
with atomic_file(sys.argv[1]) as fd:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("fsync", [True, False])
def test_atomic_write_replaces_with_the_exact_mode(tmp_path: Path, fsync: bool) -> None:
    target = tmp_path / ("n" * 250)
    target.write_text("old")
    atomic_write(target, b"new", mode=0o666, fsync=fsync)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o666
    assert os.listdir(tmp_path) == [target.name]


def test_a_failed_atomic_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target) as fd:
        write_all(fd, b"half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["state.json"]


def test_an_atomic_write_onto_a_directory_fails_cleanly(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(IsADirectoryError):
        atomic_write(tmp_path / "d", b"x")
    assert os.listdir(tmp_path) == ["d"]


def test_what_a_killed_writer_left_can_be_swept(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "state.json")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == -9
    (tmp_path / ".mine.tmp").touch()
    (left,) = remove_temporaries(tmp_path)
    assert left.startswith(".state.json.")
    assert os.listdir(tmp_path) == [".mine.tmp"]


def test_readers_never_see_half_of_a_write(tmp_path: Path) -> None:
    target = tmp_path / "f"
    versions = [bytes([65 + n]) * 70_000 for n in range(20)]
    atomic_write(target, versions[0], fsync=False)

    def write() -> None:
        for version in versions:
            atomic_write(target, version, fsync=False)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        assert target.read_bytes() in versions
    writer.join()


def test_read_bytes_limited(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"12345")
    assert read_bytes_limited(target, 5) == b"12345"
    with pytest.raises(HostError, match="5 bytes or more where at most 4"):
        read_bytes_limited(target, 4)
    target.write_bytes(b"")
    assert read_bytes_limited(target, 0) == b""
    # Special files say that they are empty.
    assert read_bytes_limited("/proc/self/status", 1 << 20).startswith(b"Name:")
    with pytest.raises(HostError):
        read_bytes_limited("/dev/zero", 1 << 20)


def test_read_file_reads_to_the_end_and_leaves_nothing_open(tmp_path: Path) -> None:
    target = tmp_path / "f"
    before = os.listdir("/proc/self/fd")
    for size in (0, 1, 1 << 16, (1 << 16) + 1, 300_000):
        data = os.urandom(size)
        target.write_bytes(data)
        assert read_file(target) == data
    # Its size is said to be 0, and it comes in pieces.
    maps = read_file("/proc/self/smaps")
    assert len(maps) > 1 << 16
    assert maps.endswith(b"\n")
    for path, error in (
        (tmp_path / "missing", FileNotFoundError),
        (target / "below", NotADirectoryError),
        (tmp_path, IsADirectoryError),
    ):
        with pytest.raises(error):
            read_file(path)
    assert os.listdir("/proc/self/fd") == before


def test_read_all_has_a_limit(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"x" * 200_000)
    with Fd.open(target, os.O_RDONLY) as fd:
        assert len(read_all(fd.number)) == 200_000
    with Fd.open(target, os.O_RDONLY) as fd, pytest.raises(HostError):
        read_all(fd.number, limit=100_000)


def test_fd_is_closed_once_and_can_be_given_away() -> None:
    first, second = map(Fd, os.pipe())
    number = first.number
    first.close()
    first.close()
    assert first.fileno() == -1
    with pytest.raises(OSError):
        os.fstat(number)
    with second:
        taken = second.detach()
    os.close(taken)


def test_sync_fs(tmp_path: Path) -> None:
    with Fd.open(tmp_path, os.O_RDONLY) as fd:
        sync_fs(fd.number)


def test_remove_tree_takes_links_not_what_they_point_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    (tree / os.fsdecode(b"\xff\xfe")).touch()
    remove_tree(tree)
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["kept"]


def test_remove_tree_of_a_link_removes_the_link(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    remove_tree(tmp_path / "link")
    assert os.listdir(tmp_path) == ["d"]


def test_remove_tree_of_nothing(tmp_path: Path) -> None:
    remove_tree(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        remove_tree(tmp_path / "missing", missing_ok=False)


def test_remove_tree_deeper_than_descriptors_and_path_names_reach(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep-directory", dir_fd=here)
        below = os.open("deep-directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT, dir_fd=here))
    os.close(here)
    remove_tree(tmp_path / "deep-directory")
    assert os.listdir(tmp_path) == []


def test_remove_tree_without_permissions_on_its_directories(tmp_path: Path) -> None:
    (tmp_path / "t" / "closed").mkdir(parents=True)
    (tmp_path / "t" / "closed" / "f").touch()
    (tmp_path / "t" / "closed").chmod(0)
    (tmp_path / "t").chmod(0o500)
    remove_tree(tmp_path / "t")
    assert os.listdir(tmp_path) == []
