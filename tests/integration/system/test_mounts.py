"""Mounts of every kind on this kernel; needs root. Everything is below tmp_path and undone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trilby.system import overlay_mount
from trilby.system.errors import TreeBusy
from trilby.system.files import Fd, remove_tree
from trilby.system.mounts import (
    BindMount,
    MountEntry,
    OverlayMount,
    Plan,
    Propagation,
    PropagationMode,
    Remount,
    TmpfsMount,
    is_mountpoint,
    list_mounts,
    unmount,
    unmount_tree,
)
from trilby.system.syscalls_file import (
    FS_IMMUTABLE_FL,
    get_file_flags,
    name_to_handle,
    open_in_root,
    set_file_flags,
)
from trilby.system.syscalls_mount import MOUNT_DATA_MAX
from trilby.system.userns import IdRange, open_user_namespace


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of our own: overlay and ID maps work on it whatever /tmp is on."""
    top = tmp_path / "work here"
    top.mkdir()
    TmpfsMount(str(top)).mount()
    yield top
    left = [mount.target for mount in list_mounts(top) if mount.target != str(top)]
    unmount_tree(top)
    assert left == []
    assert list_mounts(tmp_path) == []


def folders(top: Path, *names: str) -> list[str]:
    for name in names:
        (top / name).mkdir(parents=True)
    return [str(top / name) for name in names]


def tmpfs_at(target: str) -> Plan:
    return Plan([TmpfsMount(target, size=1 << 20, mode=0o700)])


def test_bind_mounts_are_read_only_from_the_start_and_all_the_way_down(work: Path) -> None:
    source, target, below = folders(work, "source", "target", "source/below")
    with tmpfs_at(below), Plan([BindMount(source, target, ("ro", "nosuid", "nodev"))]):
        for place in (target, f"{target}/below"):
            with pytest.raises(OSError, match="Read-only"):
                open(f"{place}/x", "w")
        with open(f"{source}/x", "w"):
            pass
        assert {"ro", "nosuid", "nodev"} <= set(list_mounts(target)[0].options)
        assert len(list_mounts(target)) == 2
    assert not is_mountpoint(target)


def test_read_only_need_not_be_recursive(work: Path) -> None:
    source, target, below = folders(work, "source", "target", "source/below")
    bind = BindMount(source, target, ("ro",), flags_recursive=False)
    with tmpfs_at(below), Plan([bind]):
        with open(f"{target}/below/x", "w"):
            pass
        with pytest.raises(OSError, match="Read-only"):
            open(f"{target}/x", "w")


def test_a_plain_bind_leaves_mounts_below_out(work: Path) -> None:
    source, target, below = folders(work, "source", "target", "source/below")
    with tmpfs_at(below):
        (Path(below) / "inner").touch()
        with Plan([BindMount(source, target, recursive=False)]):
            assert os.listdir(f"{target}/below") == []


def test_files_can_be_bound(work: Path) -> None:
    (work / "source").write_text("content")
    (work / "target").touch()
    with Plan([BindMount(str(work / "source"), str(work / "target"), ("ro", "noexec"))]):
        assert (work / "target").read_text() == "content"
        assert is_mountpoint(work / "target")
        with pytest.raises(OSError):
            (work / "target").unlink()
    assert (work / "target").read_text() == ""


@pytest.mark.parametrize(
    ("mode", "shown", "to_target", "to_source"),
    [
        ("private", "private", False, False),
        ("slave", "slave", True, False),
        ("shared", "shared", True, True),
    ],
)
def test_propagation(
    work: Path, mode: PropagationMode, shown: str, to_target: bool, to_source: bool
) -> None:
    source, target, one, _ = folders(work, "source", "target", "source/one", "source/two")
    with (
        Plan([BindMount(source, source)]),
        Plan([Propagation(source, "shared")]),
        Plan([BindMount(source, target, propagation=mode)]),
    ):
        assert list_mounts(target)[0].propagation == shown
        with tmpfs_at(one):
            assert is_mountpoint(f"{target}/one") == to_target
        with tmpfs_at(f"{target}/two"):
            assert is_mountpoint(f"{source}/two") == to_source
        assert not is_mountpoint(one)


def test_idmapped_bind_mounts_show_mapped_owners(work: Path) -> None:
    source, target = folders(work, "source", "target")
    os.chown(source, 5, 6)
    ranges = [IdRange(0, 100_000, 65_536)]
    with open_user_namespace(ranges, ranges) as namespace:
        bind = BindMount(source, target, idmap=namespace.number)
        with Plan([bind]):
            status = os.stat(target)
            assert (status.st_uid, status.st_gid) == (100_005, 100_006)
            assert "idmapped" in list_mounts(target)[0].options
    assert os.stat(source).st_uid == 5


def test_remounts_change_flags_both_ways(work: Path) -> None:
    (target,) = folders(work, "target")
    with tmpfs_at(target):
        with Plan([Remount(target, ("ro", "noatime", "noexec"))]):
            assert {"ro", "noatime", "noexec"} <= set(list_mounts(target)[0].options)
        options = set(list_mounts(target)[0].options)
        assert {"rw", "relatime"} <= options
        assert not {"ro", "noatime", "noexec"} & options


def test_a_plan_that_fails_undoes_what_it_made(work: Path) -> None:
    (target,) = folders(work, "target")
    plan = Plan([TmpfsMount(target), BindMount(str(work / "missing"), target)])
    with pytest.raises(FileNotFoundError) as caught:
        plan.mount()
    assert "rbind" in caught.value.__notes__[0]
    assert not is_mountpoint(target)
    assert [line.split()[0] for line in plan.describe()] == ["mount", "mount"]


@pytest.mark.parametrize(
    "name", ["a b", "a#b", "a\\b", "a\nb\tc", "a\rb", "\x85\u2028\x0c", "\udcff"]
)
def test_odd_names_are_found_in_the_table(work: Path, name: str) -> None:
    (target,) = folders(work, name)
    with tmpfs_at(target):
        assert [mount.target for mount in list_mounts(target)] == [target]
        assert target in [mount.target for mount in list_mounts(work)]
        assert is_mountpoint(target)


def test_unmounting_is_idempotent_and_takes_stacks(work: Path) -> None:
    (target,) = folders(work, "target")
    for _ in range(3):
        TmpfsMount(target).mount()
    (Path(target) / "in").mkdir()
    TmpfsMount(f"{target}/in").mount()
    assert unmount_tree(target) == 4
    assert unmount_tree(target) == 0
    assert unmount(target) is False
    assert unmount(work / "missing") is False


def layers(work: Path, count: int, length: int) -> list[str]:
    made = folders(work, *(f"l/{number:03}-{'x' * length}" for number in range(count)))
    for number, path in enumerate(made):
        (Path(path) / f"file{number}").touch()
        (Path(path) / "same").write_text(str(number))
    return made


@pytest.mark.parametrize(
    ("count", "length"),
    [(3, 10), (130, 26), (60, 230)],
    ids=["one page", "many layers", "layers with names above fsconfig's limit"],
)
def test_overlays_of_any_size(work: Path, count: int, length: int) -> None:
    lower = layers(work, count, length)
    target, upper, workdir = folders(work, "t", "up", "wk")
    mount = OverlayMount(target, tuple(lower), upper, workdir, ("volatile",), ("nodev",))
    assert (len(overlay_mount.option_string(mount)) > MOUNT_DATA_MAX) == (count > 3)
    with Plan([mount]):
        assert len(os.listdir(target)) == count + 1
        # The first layer given is the uppermost.
        assert Path(target, "same").read_text() == "0"
        Path(target, "new").write_text("n")
        (entry,) = list_mounts(target)
        assert (entry.fs_type, "nodev" in entry.options) == ("overlay", True)
    assert Path(upper, "new").read_text() == "n"


def test_overlays_on_kernels_without_layerwise_options(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(overlay: OverlayMount, attributes: int = 0) -> int:
        raise OSError(22, "no lowerdir+ here")

    monkeypatch.setattr(overlay_mount, "open_overlay", refuse)
    lower = layers(work, 70, 26)
    (target,) = folders(work, "t")
    mount = OverlayMount(target, tuple(lower))
    assert len(overlay_mount.option_string(mount)) > MOUNT_DATA_MAX
    with Plan([mount]):
        assert len(os.listdir(target)) == 71
    too_many = OverlayMount(target, tuple(layers(work / "more", 150, 26)))
    with pytest.raises(OSError, match="no lowerdir"):
        too_many.mount()


@pytest.mark.parametrize("layerwise", [False, True])
def test_overlay_paths_with_special_characters(
    work: Path, monkeypatch: pytest.MonkeyPatch, layerwise: bool
) -> None:
    if layerwise:
        monkeypatch.setattr("trilby.system.syscalls_mount.MOUNT_DATA_MAX", 0)
    odd = folders(work, "a:b", "c,d", "e\\f", "up,:\\:", "wk\\,")
    (Path(odd[0]) / "one").touch()
    (Path(odd[1]) / "two").touch()
    (target,) = folders(work, "t")
    with Plan([OverlayMount(target, tuple(odd[:3]), odd[3], odd[4])]):
        assert sorted(os.listdir(target)) == ["one", "two"]
        Path(target, "up").touch()
    assert os.listdir(odd[3]) == ["up"]


def test_an_overlay_that_cannot_be_mounted_leaves_nothing(work: Path) -> None:
    (target,) = folders(work, "t")
    with pytest.raises(OSError):
        OverlayMount(target, (str(work / "missing"),)).mount()
    assert not is_mountpoint(target)


def test_remove_tree_refuses_mounts_and_touches_nothing(work: Path) -> None:
    tree, inner = folders(work, "tree", "tree/z/inner")
    (Path(tree) / "a").touch()
    # A bind mount has the tree's own device number: a look at that alone would miss it.
    (other,) = folders(work, "other")
    (Path(other) / "precious").touch()
    with Plan([BindMount(other, inner)]):
        with pytest.raises(TreeBusy, match="is a mount point"):
            remove_tree(tree)
        assert sorted(os.listdir(tree)) == ["a", "z"]
    remove_tree(tree)
    assert os.listdir(other) == ["precious"]


@pytest.mark.parametrize("entries", [3, 200])
@pytest.mark.parametrize("place", ["tree", "tree/z/file", "tree/z/folder"])
def test_remove_tree_refuses_every_kind_of_mount_in_small_and_large_trees(
    work: Path, entries: int, place: str
) -> None:
    tree = work / "tree"
    for path in (tree / "z/folder", work / "other"):
        path.mkdir(parents=True)
    for path in (tree / "z/file", work / "else", *(tree / f"a{i}" for i in range(entries))):
        path.touch()
    target = work / place
    # Of the tree on itself, too: then even its inode number is the same.
    source = work / ("else" if target.is_file() else "other") if target != tree else tree
    with Plan([BindMount(str(source), str(target))]):
        with pytest.raises(TreeBusy, match=f"{target} is a mount point"):
            remove_tree(tree)
        assert len(os.listdir(tree)) == entries + 1
    remove_tree(tree)
    assert not tree.exists()


def test_remove_tree_reads_the_mount_table_for_large_trees_only(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full node's table has hundreds of lines, and a pod's end removes some small trees."""
    read: list[object] = []

    def counted(*args: str, resolve: bool) -> list[MountEntry]:
        read.append(args)
        return list_mounts(*args, resolve=resolve)

    monkeypatch.setattr("trilby.system.mount_table.list_mounts", counted)
    for entries, reads in ((30, 0), (100, 1)):
        (tree,) = folders(work, "tree")
        for number in range(entries):
            (Path(tree) / str(number)).symlink_to("nowhere")
        os.mkfifo(f"{tree}/fifo")
        remove_tree(tree)
        assert not os.path.lexists(tree)
        assert len(read) == reads


def test_remove_tree_never_enters_a_mount_made_meanwhile(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trilby.system.removal._refuse_mounts", lambda path: None)
    tree, inner, other = folders(work, "tree", "tree/inner", "other")
    (Path(other) / "precious").touch()
    with Plan([BindMount(other, inner)]), pytest.raises(TreeBusy):
        remove_tree(tree)
    assert os.listdir(other) == ["precious"]


def test_remove_tree_removes_immutable_files(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "f").touch()
    try:
        for path in (tree / "d" / "f", tree / "d"):
            with Fd.open(path, os.O_RDONLY) as fd:
                set_file_flags(fd.number, get_file_flags(fd.number) | FS_IMMUTABLE_FL)
    except OSError:
        pytest.skip("no immutable files on this file system")
    with pytest.raises(PermissionError):
        (tree / "d" / "f").unlink()
    remove_tree(tree)
    assert os.listdir(tmp_path) == []


UNPRIVILEGED = """
import os, sys
import trilby.system.mount_table, trilby.system.removal
from trilby.system.files import remove_tree
os.seteuid(65534)
os.makedirs(sys.argv[1] + "/t/closed/deeper")
open(sys.argv[1] + "/t/closed/deeper/f", "w").close()
os.chmod(sys.argv[1] + "/t/closed/deeper", 0o500)
os.chmod(sys.argv[1] + "/t/closed", 0)
os.chmod(sys.argv[1] + "/t", 0o500)
remove_tree(sys.argv[1] + "/t")
"""


def test_remove_tree_without_privileges_gives_itself_leave(work: Path) -> None:
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o777)
        subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, top],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
        )
        assert os.listdir(top) == []


def test_paths_resolved_in_a_root_do_not_leave_it(work: Path) -> None:
    (root,) = folders(work, "root")
    (Path(root) / "etc").symlink_to("/../../../../etc-inside")
    (Path(root) / "etc-inside").mkdir()
    (Path(root) / "etc-inside" / "passwd").write_text("inside")
    with (
        Fd.open(root, os.O_PATH) as fd,
        Fd(open_in_root(fd.number, "/etc/passwd", os.O_RDONLY)) as file,
    ):
        assert os.read(file.number, 100) == b"inside"
        assert stat.S_ISREG(os.fstat(file.number).st_mode)
        with pytest.raises(FileNotFoundError):
            open_in_root(fd.number, "/etc/shadow", os.O_RDONLY)


def test_handles_name_files(work: Path) -> None:
    (work / "f").touch()
    with Fd.open(work, os.O_PATH) as fd:
        one = name_to_handle(fd.number, "f")
        (work / "g").touch()
        assert one == name_to_handle(fd.number, "f") != name_to_handle(fd.number, "g")
