"""Layers that do not behave: nothing outside the root changes, and the message names the entry."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tars import (
    END,
    archive,
    directory,
    hard_link,
    header,
    long_name,
    member,
    pax,
    reader,
    symlink,
    tree,
)

from trilby.storage.assemble import assemble
from trilby.storage.tarerrors import CorruptLayer, UnsafeLayer
from trilby.storage.tarread import TarReader
from trilby.storage.unpack import Owners, unpack
from trilby.system.files import remove_tree

OWNERS = Owners(ignore_chown_errors=True)
ROOT = os.geteuid() == 0


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A place with things around the root that a layer would like to reach."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    return tmp_path


def run(world: Path, *entries: bytes, whiteouts: str = "overlay-user") -> Path:
    """Unpack; whatever happens, what is outside stays as it was and the archive is exact."""
    before = (tree(world / "outside"), (world / "secret").stat())
    journal = str(world / "journal")
    data = archive(*entries)
    try:
        unpack(
            reader(data, 4096),
            str(world / "root"),
            tar_split=journal,
            whiteouts=whiteouts,
            owners=OWNERS,
            where="thread",
        )
        assert b"".join(assemble(journal, [str(world / "root")])) == data
    finally:
        assert (tree(world / "outside"), (world / "secret").stat()) == before
        assert sorted(os.listdir(world)) in (
            ["journal", "outside", "root", "secret"],
            ["outside", "root", "secret"],
        )
    return world / "root"


@pytest.mark.parametrize(
    "name",
    [
        b"../secret",
        b"a/../../secret",
        b"./../outside/x",
        b"..",
        b"../",
        b"a/../..",
        b"x/../../root",
    ],
)
@pytest.mark.parametrize("kind", [b"0", b"5", b"2", b"1"])
def test_names_that_lead_out_are_refused(world: Path, name: bytes, kind: bytes) -> None:
    with pytest.raises(UnsafeLayer, match="leads out of the layer"):
        run(world, member(b"ok", b"1"), member(name, b"", kind, link=b"ok"))


@pytest.mark.parametrize("name", [b"/../../secret", b"/etc/x", b"//secret", b"/a/../../secret"])
def test_absolute_names_are_inside(world: Path, name: bytes) -> None:
    root = run(world, member(name, b"mine"))
    assert any(path.read_text() == "mine" for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "target", [b"/", b"..", b"../..", b"/proc/self/root", b"../outside", b"/outside"]
)
def test_parents_that_are_links_stay_inside(world: Path, target: bytes) -> None:
    entries = [
        symlink(b"l", target),
        member(b"l/secret", b"x"),
        directory(b"l/sub"),
        member(b"l/sub/f"),
    ]
    try:
        root = run(world, *entries)
    except CorruptLayer as error:
        assert "l/s" in str(error)
    else:
        assert (root / "secret").read_text() == "x"


def test_absolute_link_targets_are_the_roots(world: Path) -> None:
    target = os.fsencode(world / "outside")
    with pytest.raises(CorruptLayer, match="'l/secret' of the layer"):
        run(world, symlink(b"l", target), member(b"l/secret", b"x"))


def test_link_loops_and_dangling_parents(world: Path) -> None:
    for entries in (
        (symlink(b"a", b"b"), symlink(b"b", b"a"), member(b"a/x")),
        (symlink(b"a", b"nowhere"), member(b"a/x")),
        (member(b"a", b"file"), member(b"a/x")),
    ):
        with pytest.raises(CorruptLayer, match="'a/x'"):
            run(world, *entries)
        run(world, *(member(b"a", b"") for _ in range(1)))


def test_a_cached_parent_is_not_what_its_name_says_any_more(world: Path) -> None:
    root = run(
        world,
        directory(b"d") + directory(b"d/e") + member(b"d/e/f", b"1"),
        symlink(b"d", b"/elsewhere"),
        directory(b"elsewhere"),
        member(b"d/e/g", b"2"),
        member(b"d/h", b"3"),
    )
    assert (root / "elsewhere/e/g").read_text() == "2" and (root / "elsewhere/h").exists()
    assert not (root / "elsewhere/e/f").exists()


def test_a_link_on_the_way_to_a_file_may_go(world: Path) -> None:
    root = run(
        world,
        directory(b"a") + symlink(b"l", b"a") + member(b"l/f", b"1"),
        directory(b"l") + member(b"l/f", b"2"),
    )
    assert ((root / "a/f").read_text(), (root / "l/f").read_text()) == ("1", "2")


@pytest.mark.parametrize("name", [b"f", b"d/f"])
def test_files_are_never_written_through_links(world: Path, name: bytes) -> None:
    secret = os.fsencode(world / "secret")
    root = run(world, directory(b"d"), symlink(name, secret), member(name, b"mine"))
    path = root / os.fsdecode(name)
    assert not path.is_symlink() and path.read_text() == "mine"
    root = run(world, symlink(name, secret), directory(name, 0o777), symlink(b"hl", secret))
    assert not path.is_symlink() and path.is_dir()


def test_hard_links(world: Path) -> None:
    with pytest.raises(UnsafeLayer, match="leads out"):
        run(world, hard_link(b"h", b"../secret"))
    with pytest.raises(CorruptLayer, match="'h': it is a hard link to '/secret', which"):
        run(world, hard_link(b"h", b"/secret"))
    with pytest.raises(CorruptLayer, match="to a directory"):
        run(world, directory(b"d"), hard_link(b"h", b"d"))
    with pytest.raises(CorruptLayer, match="to the root"):
        run(world, hard_link(b"h", b"."))
    with pytest.raises(CorruptLayer, match="to itself"):
        run(world, member(b"h", b"1"), hard_link(b"h", b"./h"))
    with pytest.raises(CorruptLayer, match="'h'"):
        run(world, symlink(b"out", b".."), hard_link(b"h", b"out/secret"))
    if ROOT:
        with pytest.raises(CorruptLayer, match="which the layer does not have"):
            run(world, member(b".wh.gone"), hard_link(b"h3", b"gone"))
        with pytest.raises(CorruptLayer, match="to a directory"):
            run(world, member(b".wh.up"), hard_link(b"up/h", b"up"))
    root = run(world, symlink(b"s", os.fsencode(world / "secret")), hard_link(b"h2", b"s"))
    assert (root / "h2").is_symlink()


def test_a_hard_links_header_does_not_reach_through_a_link(world: Path) -> None:
    secret = os.fsencode(world / "secret")
    run(world, symlink(b"s", secret), member(b"h", b"", b"1", link=b"s", mode=0o777, mtime=1))
    run(world, symlink(b"s", secret), pax([(b"SCHILY.xattr.user.x", b"1")]) + hard_link(b"h", b"s"))


def test_whiteouts_are_no_way_out(world: Path) -> None:
    for name in (b".wh.", b".wh..", b".wh...", b"d/.wh...", b"./.wh.."):
        with pytest.raises(UnsafeLayer, match="names no entry"):
            run(world, directory(b"d"), member(name))
    with pytest.raises(UnsafeLayer, match="leads out"):
        run(world, member(b"../.wh.secret"))
    with pytest.raises(CorruptLayer, match="a whiteout is no directory"):
        run(world, member(b".wh.d/f"))
    run(world, symlink(b"l", os.fsencode(world / "outside")), member(b"l/.wh.secret"))


@pytest.mark.parametrize("entry", [b".wh.secret", b".wh..wh..opq", b"sub/.wh.x"])
def test_removing_whiteouts_stay_inside(world: Path, entry: bytes) -> None:
    (world / "root/real").mkdir()
    (world / "root/real/below").write_text("below")
    (world / "root/up").symlink_to("..")
    run(world, member(b"up/" + entry), member(b"abs/" + entry), whiteouts="remove")


def test_removal_takes_what_is_below_and_keeps_what_the_layer_brings(world: Path) -> None:
    root = world / "root"
    for name in ("a/old", "b/old", "b/sub/old", "c/old", "keep/old"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("below")
    (root / "link").symlink_to("keep")
    run(
        world,
        member(b".wh.a"),
        directory(b"b"),
        member(b"b/new", b"new"),
        member(b"b/sub/new", b"new"),
        member(b"b/.wh..wh..opq"),
        member(b"b/later", b"new"),
        member(b"c/new", b"new"),
        member(b"c/.wh.new"),
        member(b".wh.link"),
        member(b".wh.nothing"),
        member(b".wh..wh.plnk", b"aufs"),
        member(b"keep/old", b"new"),
        whiteouts="remove",
    )
    files = {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }
    assert files == {
        "b/new": "new",
        "b/sub/new": "new",
        "b/later": "new",
        "c/old": "below",
        "c/new": "new",
        "keep/old": "new",
    }
    assert not (root / "a").exists() and not (root / "link").is_symlink()


@pytest.mark.skipif(not ROOT, reason="device nodes")
def test_overlay_whiteouts_hide_only_what_is_below(world: Path) -> None:
    root = run(
        world,
        member(b".wh.gone"),
        member(b".wh.back") + member(b"back", b"new"),
        member(b".wh.dir") + member(b"dir/f", b"new"),
        member(b".wh.dir2") + directory(b"dir2"),
        member(b"here", b"new") + member(b".wh.here"),
        directory(b"kept") + member(b"kept/f") + member(b".wh.kept"),
        member(b".wh.hidden") + member(b"hidden/.wh.inner", b"with data"),
    )
    for name in ("gone", "hidden"):
        info = os.stat(root / name)
        assert stat.S_ISCHR(info.st_mode) and info.st_rdev == 0, name
    assert (root / "back").read_text() == (root / "here").read_text() == "new"
    for name in ("dir", "dir2", "kept"):
        assert os.getxattr(root / name, "user.overlay.opaque") == b"y", name


@pytest.mark.parametrize(
    "key", [b"trusted.overlay.redirect", b"user.overlay.opaque", b"trusted.overlay.opaque"]
)
@pytest.mark.parametrize("entry", [member(b"x", b"1"), directory(b"x"), symlink(b"x", b"y")])
def test_overlays_own_attributes_are_refused(world: Path, key: bytes, entry: bytes) -> None:
    with pytest.raises(UnsafeLayer, match="'x'.*belongs to overlay"):
        run(world, pax([(b"SCHILY.xattr." + key, b"y")]) + entry)


def test_attributes_of_others_are_left_out(world: Path) -> None:
    root = run(
        world,
        pax([(b"SCHILY.xattr.security.selinux", b"a:b:c"), (b"SCHILY.xattr.user.k", b"v\0\nw")])
        + member(b"x", b"1"),
        pax([(b"SCHILY.xattr.user.k", b"v")]) + symlink(b"l", b"x"),
        pax([(b"SCHILY.xattr.nonsense", b"v")]) + member(b"y", b"1"),
    )
    assert os.listxattr(root / "x") == ["user.k"] and os.getxattr(root / "x", "user.k") == b"v\0\nw"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (header(b"n", 5)[:300], "within a header"),
        (member(b"n", b"x" * 600)[:700], "within a file's data"),
        (header(b"bad", checksum=b"0000000\0"), "wrong checksum of the header of 'bad'"),
        (header(b"n", checksum=b"xxxxxxx\0"), "wrong checksum"),
        (bytes(512) + member(b"n", b"1"), "after a single block of zeros"),
        (header(b"neg", -5) + END, "'neg': bad size"),
        (header(b"huge", 1 << 70) + END, "'huge': bad size"),
        (header(b"uid", uid=-2) + END, "'uid': user id -2 is out of range"),
        (header(b"big", uid=1 << 40) + END, "out of range"),
        (header(b"when", mtime=1 << 60) + END, "time .* is out of range"),
        (member(b"M", b"", b"M") + END, "'M': unknown type 'M'"),
        (member(b"p", b"x" * (1 << 20) + b"y", b"x") + END, "of 1048577 bytes"),
        (header(b"p", 1 << 40, b"L") + END, "of 1099511627776 bytes"),
        (member(b"p", b"12 path=abcd", b"x") + member(b"f") + END, "malformed PAX"),
        (member(b"p", b"999 path=a\n", b"x") + member(b"f") + END, "malformed PAX"),
        (member(b"p", b"-9 path=a\n", b"x") + member(b"f") + END, "malformed PAX"),
        (member(b"p", b"6 =ab\n\n", b"x") + member(b"f") + END, "malformed PAX"),
        (pax([(b"path", b"a\0b")]) + member(b"f") + END, "malformed PAX"),
        (pax([(b"size", b"-1")]) + member(b"f") + END, "bad PAX size"),
        (pax([(b"uid", b"99999999999")]) + member(b"f") + END, "bad PAX uid"),
        (pax([(b"mtime", b"soon")]) + member(b"f") + END, "bad PAX time"),
        (pax([(b"path", b"x")]) + END, "ends after a PAX header"),
        (long_name(b"x") * 40 + member(b"f") + END, "endless extension headers"),
        (member(b".", b"x") + END, "only a directory can be the root"),
        (symlink(b"", b"x") + END, "only a directory can be the root"),
        (pax([(b"path", b"d/" + b"p" * 256)]) + member(b"x") + END, "'d/p.*File name too long"),
        (symlink(b"l", b"") + END, "'l'"),
    ],
)
def test_broken_archives(world: Path, data: bytes, said: str) -> None:
    with pytest.raises(CorruptLayer, match=said):
        unpack(reader(data), str(world / "root"), owners=OWNERS, where="thread")


@pytest.mark.parametrize(
    "records",
    [
        [(b"GNU.sparse.map", b"0,5,3,5"), (b"GNU.sparse.size", b"100")],
        [(b"GNU.sparse.map", b"0,5,10"), (b"GNU.sparse.size", b"100")],
        [(b"GNU.sparse.map", b"0,10"), (b"GNU.sparse.size", b"5")],
        [(b"GNU.sparse.map", b"0,9"), (b"GNU.sparse.size", b"100")],
        [(b"GNU.sparse.map", b"a,b"), (b"GNU.sparse.size", b"100")],
        [(b"GNU.sparse.numbytes", b"1"), (b"GNU.sparse.size", b"100")],
        [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")],
    ],
)
def test_broken_sparse_maps(world: Path, records: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(CorruptLayer, match="sparse"):
        run(world, pax(records) + member(b"s", b"0123456789"))


def test_what_replaces_itself_without_end_is_refused(world: Path) -> None:
    entries = b"".join(member(b"d/%d" % n, b"x") for n in range(600))
    with pytest.raises(UnsafeLayer, match="replace each other"):
        run(world, entries, member(b"d", b"file"))


def test_deep_names(world: Path) -> None:
    root = run(world, pax([(b"path", b"/".join([b"d"] * 1500))]) + member(b"x", b"deep"))
    fd, depth = os.open(root, os.O_RDONLY), 0
    while os.listdir(fd) == ["d"]:
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd, depth = inner, depth + 1
        if not stat.S_ISDIR(os.stat("d", dir_fd=fd).st_mode):
            break
    assert depth == 1499
    os.close(fd)
    with pytest.raises(CorruptLayer, match="too long"):
        run(world, pax([(b"path", b"/".join([b"d"] * 3000))]) + member(b"x", b"deep"))
    remove_tree(root)
    root.mkdir()


def test_owners_without_a_mapping(world: Path) -> None:
    owners = Owners(uids=((0, os.geteuid(), 1),), gids=((0, os.getegid(), 1),))
    unpack(reader(archive(member(b"f", b"1"))), str(world / "root"), owners=owners, where="thread")
    with pytest.raises(CorruptLayer, match="user id 5 is in none of the mapped ranges"):
        data = archive(member(b"g", b"1", uid=5))
        unpack(reader(data), str(world / "root"), owners=owners, where="thread")


def test_errors_of_the_source_pass_through(world: Path) -> None:
    data = archive(member(b"f", b"x" * 3_000_000))
    for where in ("thread", "worker", "auto"):
        rest = reader(data, 50_000)
        calls = iter(range(1000))

        def read(size: int) -> bytes:
            if next(calls) == 20:  # noqa: B023 - used up before the next turn
                raise ConnectionResetError("peer")
            return rest(size)  # noqa: B023

        with pytest.raises(ConnectionResetError, match="peer"):
            unpack(read, str(world / "root"), owners=OWNERS, where=where)


@pytest.mark.parametrize("where", ["thread", "worker", "auto"])
def test_a_full_disk_is_not_the_layers_fault(world: Path, where: str) -> None:
    with pytest.raises(OSError) as caught:
        data = archive(member(b"f", b"x" * 3_000_000))
        unpack(reader(data), str(world / "root"), tar_split="/dev/full", owners=OWNERS, where=where)
    assert caught.value.errno == 28


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.binary(max_size=700), st.integers(0, 511), st.integers(0, 255)), max_size=4
    ),
    st.integers(1, 1200),
)
def test_damage_is_an_error_and_never_more(
    damage: list[tuple[bytes, int, int]], chunk: int
) -> None:
    """Whatever the bytes are, the reader ends or raises CorruptLayer, and keeps every raw byte."""
    parts = [member(b"f", b"12345"), pax([(b"path", b"p")]), member(b"g", b"x" * 1000), END]
    data = bytearray(b"".join(parts))
    for insert, position, value in damage:
        data[position : position + len(insert)] = insert
        data[position] = value
    blocks = iter([bytes(data[at : at + chunk]) for at in range(0, len(data), chunk)])
    reader_ = TarReader(blocks, keep_raw=True)
    seen = bytearray()
    try:
        while reader_.next() is not None:
            seen += b"".join(reader_.raw)
            reader_.raw.clear()
            seen += b"".join(reader_.chunks())
        seen += b"".join(reader_.raw) + b"".join(reader_.rest())
    except CorruptLayer:
        return
    assert seen == data


PLACES = st.sampled_from(
    [
        b"a",
        b"b",
        b"a/b",
        b"b/a",
        b"a/b/a",
        b"./a",
        b"a/../b",
        b"/b/",
        b"l",
        b"l/a",
        b"l/secret",
        b".",
    ]
    + [b".wh.a", b".wh.l", b"a/.wh.b", b"l/.wh.secret", b"a/b/.wh.a", b"l/.wh..wh..opq"]
    + [b"a/.wh..wh..opq", b".wh..wh..opq", b"secret", b"outside/secret"]
)
TARGETS = st.sampled_from([b"a", b"b", b"a/b", b"l", b"l/secret", b"..", b"/", b"../outside", b"."])
ENTRIES = st.one_of(
    st.tuples(PLACES, st.sampled_from([b"0", b"5"]), st.just(b""), st.binary(max_size=9)),
    st.tuples(PLACES, st.sampled_from([b"1", b"2"]), TARGETS, st.just(b"")),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(ENTRIES, min_size=2, max_size=9),
    st.sampled_from(["overlay-user", "remove"] if ROOT else ["remove"]),
)
def test_no_sequence_of_entries_leads_out(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[tuple[bytes, bytes, bytes, bytes]],
    whiteouts: str,
) -> None:
    """Either the layer is refused or its archive can be put together again; never more happens."""
    world = tmp_path_factory.mktemp("world")
    (world / "root").mkdir()
    (world / "outside").mkdir()
    (world / "outside/secret").write_text("secret")
    (world / "secret").write_text("secret")
    parts = [
        member(name, data if kind == b"0" else b"", kind, link=link, mode=0o755)
        for name, kind, link, data in entries
    ]
    try:
        run(world, *parts, whiteouts=whiteouts)
    except (CorruptLayer, UnsafeLayer) as error:
        assert "export" not in str(error)
    remove_tree(world)
