"""Archives made from directories: whole trees, and what one tree changed since another."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tars import archive, directory, hard_link, member, pax, reader, symlink, tree

from trilby.storage.tardiff import compare_trees, pack_directory, write_diff
from trilby.storage.tarerrors import CorruptLayer
from trilby.storage.tarread import Member, TarReader
from trilby.storage.tarwrite import Header
from trilby.storage.unpack import Owners, unpack

OWNERS = Owners(ignore_chown_errors=True)


def put(root: Path, data: bytes, whiteouts: str = "remove") -> Path:
    root.mkdir(exist_ok=True)
    unpack(reader(data), str(root), whiteouts=whiteouts, owners=OWNERS, where="thread")
    return root


def names(pieces: Iterator[bytes]) -> list[str]:
    reader_ = TarReader(pieces)
    found = []
    while (item := reader_.next()) is not None:
        found.append(os.fsdecode(item.name))
    return found


def plenty() -> bytes:
    return archive(
        directory(b"d", 0o711),
        member(b"d/f", b"x" * 700_001, mode=0o4750),
        hard_link(b"d/again", b"d/f"),
        directory(b"d-after"),
        symlink(b"link", b"t" * 150),
        member(b"fifo", b"", b"6", mode=0o600),
        member(b"n" * 120, b"1"),
        pax([(b"path", b"p" * 90 + b"/" + b"q" * 90)]) + member(b"x", b"split"),
        pax([(b"path", b"r" * 170 + b"/" + b"s" * 170)]) + member(b"x", b"long"),
        pax([(b"mtime", b"-1.5"), (b"SCHILY.xattr.user.k", b"v\n\0")]) + member(b"times", b""),
        member("\u00fc".encode(), b"u"),
        member(b"\xff", b"raw"),
    )


def test_a_packed_tree_unpacks_to_itself(tmp_path: Path) -> None:
    one = put(tmp_path / "one", plenty())
    packed = b"".join(pack_directory(str(one)))
    two = put(tmp_path / "two", packed)
    stamps = {name: entry for name, entry in tree(one).items()}
    assert stamps == tree(two)
    fd = os.open(two, os.O_RDONLY)
    try:
        assert b"".join(pack_directory(fd)) == packed, "the same tree gives the same bytes"
    finally:
        os.close(fd)
    listed = names(iter([packed]))
    assert listed[:4] == ["d/", "d/again", "d/f", "d-after/"]
    assert len(packed) % 512 == 0


def test_sockets_are_left_out_and_a_shrinking_file_is_an_error(tmp_path: Path) -> None:
    root = put(tmp_path / "r", archive(member(b"f", b"x" * 600_000)))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "a-socket"))
        assert names(pack_directory(str(root))) == ["f"]
    pieces = pack_directory(str(root))
    next(pieces)
    next(pieces)
    os.truncate(root / "f", 10)
    with pytest.raises(CorruptLayer, match="'f': it shrank"):
        b"".join(pieces)


def test_opaque_marks_only_where_something_is_hidden(tmp_path: Path) -> None:
    lower = put(tmp_path / "lower", archive(directory(b"a"), member(b"b", b"a file")))
    top = put(tmp_path / "top", archive(directory(b"c"), member(b"c/x")))
    upper = put(
        tmp_path / "upper",
        archive(
            *(
                directory(n) + member(n + b"/.wh..wh..opq") + member(n + b"/f")
                for n in (b"a", b"b", b"c", b"d")
            )
        ),
        "overlay-user",
    )
    listed = names(write_diff(str(upper), [str(top), str(lower)]))
    assert [name for name in listed if ".wh." in name] == ["a/.wh..wh..opq", "c/.wh..wh..opq"]
    assert listed[:3] == ["a/", "a/.wh..wh..opq", "a/f"]


def test_what_changed(tmp_path: Path) -> None:
    old = put(
        tmp_path / "old",
        archive(
            directory(b"same") + member(b"same/f", b"1"),
            directory(b"gone") + member(b"gone/deep/f", b"1"),
            member(b"content", b"1"),
            member(b"mode", b"1"),
            directory(b"becomes-file") + member(b"becomes-file/f", b"1"),
            member(b"becomes-directory", b"1"),
            symlink(b"link", b"a"),
            directory(b"z") + member(b"z/f", b"1") + member(b"z/g", b"1"),
        ),
    )
    new = tmp_path / "new"
    shutil.copytree(old, new, symlinks=True)
    shutil.rmtree(new / "gone")
    (new / "content").write_text("22")
    (new / "mode").chmod(0o600)
    shutil.rmtree(new / "becomes-file")
    (new / "becomes-file").write_text("now")
    (new / "becomes-directory").unlink()
    (new / "becomes-directory").mkdir()
    (new / "link").unlink()
    (new / "link").symlink_to("b")
    (new / "z/g").unlink()
    (new / "added").write_text("a")
    listed = names(compare_trees(str(new), str(old)))
    assert listed == [
        "added",
        "becomes-directory/",
        "becomes-file",
        "content",
        ".wh.gone",
        "link",
        "mode",
        "z/",
        "z/.wh.g",
    ]
    put(old, b"".join(compare_trees(str(new), str(old))))
    assert tree(old) == tree(new)
    assert names(compare_trees(str(new), str(old))) == []
    assert len(names(compare_trees(str(new), None))) == len(tree(new))


TREES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "a/x", "a/y", "b/x", "b/x/deep", "c/z"]),
    st.one_of(st.none(), st.binary(max_size=3), st.sampled_from(["link-1", "link-2"])),
    max_size=6,
)


def build(root: Path, content: dict[str, bytes | str | None]) -> None:
    root.mkdir()
    for name, what in sorted(content.items()):
        path = root / name
        if any(parent.is_symlink() or parent.is_file() for parent in path.parents) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if what is None:
            path.mkdir()
        elif isinstance(what, bytes):
            path.write_bytes(what)
        else:
            path.symlink_to(what)


@settings(max_examples=40, deadline=None)
@given(TREES, TREES)
def test_a_difference_makes_one_tree_of_the_other(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[str, bytes | str | None],
    after: dict[str, bytes | str | None],
) -> None:
    place = tmp_path_factory.mktemp("trees")
    build(place / "old", before)
    build(place / "new", after)
    put(place / "old", b"".join(compare_trees(str(place / "new"), str(place / "old"))))
    assert tree(place / "old", times=False) == tree(place / "new", times=False)


@settings(max_examples=200, deadline=None)
@given(
    name=st.binary(min_size=1, max_size=400).filter(lambda b: b"\0" not in b),
    link=st.binary(max_size=300).filter(lambda b: b"\0" not in b),
    numbers=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32), st.integers(0, 2**40)),
    mtime=st.integers(-(10**18), 10**19),
    xattrs=st.dictionaries(st.sampled_from([b"user.a", b"user.b"]), st.binary(max_size=200)),
)
def test_what_is_written_is_read(
    name: bytes,
    link: bytes,
    numbers: tuple[int, int, int],
    mtime: int,
    xattrs: dict[bytes, bytes],
) -> None:
    written = Header(name, b"0", 0o644, mtime)
    written.link, written.xattrs = link, xattrs
    written.uid, written.gid, written.size = numbers
    read = TarReader(iter([written.blocks()])).next()
    assert isinstance(read, Member)
    assert (read.name, read.mtime, (read.uid, read.gid, read.size)) == (name, mtime, numbers)
    assert (read.xattrs or {}) == xattrs
