"""The same layers through skopeo and podman, in stores of their own: trees, journals and diffs."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.tars import (
    archive,
    directory,
    hard_link,
    header,
    long_name,
    member,
    oci_layout,
    padded,
    pax,
    reader,
    symlink,
    tree,
)

from trilby.storage.assemble import assemble
from trilby.storage.tardiff import write_diff
from trilby.storage.tarsplit_read import SEGMENT, Entry, read_journal
from trilby.storage.unpack import unpack

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and overlay need root"),
    pytest.mark.skipif(not shutil.which("skopeo"), reason="compares with skopeo"),
]
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


class Peer:
    """A containers/storage store that only skopeo and podman write."""

    def __init__(self, place: Path, driver: str = "overlay") -> None:
        self.root = place / "root"
        self.run_root = place / "run"
        self.place = place
        self.name = f"containers-storage:[{driver}@{self.root}+{self.run_root}]x:latest"

    def skopeo(self, source: str, destination: str) -> None:
        command = ["skopeo", "--insecure-policy", "copy", "-q", source, destination]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def podman(self, *arguments: str) -> None:
        options = ["--root", str(self.root), "--runroot", str(self.run_root)]
        options += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs"]
        command = ["podman", *options, "--events-backend", "none", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def store(self, *layers: bytes) -> None:
        oci_layout(self.place / "oci", list(layers))
        self.skopeo(f"oci:{self.place}/oci", self.name)

    def layers(self) -> list[str]:
        records = json.loads((self.root / "overlay-layers/layers.json").read_text())
        return [record["id"] for record in records]

    def diff(self, layer: str) -> str:
        return str(self.root / "overlay" / layer / "diff")

    def journal(self, layer: str) -> str:
        return str(self.root / "overlay-layers" / f"{layer}.tar-split.gz")


@pytest.fixture
def peer() -> Iterator[Peer]:
    place = Path(tempfile.mkdtemp(prefix="peer-"))  # podman wants a short path
    peer = Peer(place)
    try:
        yield peer
    finally:
        subprocess.run(["umount", peer.root / "overlay"], capture_output=True)
        shutil.rmtree(place)


def layer_of_everything() -> bytes:
    return archive(
        directory(b"./", 0o750, uid=7),
        directory(b"a/"),
        member(b"a/f", b"hello" * 300, mode=0o4755),
        member(b"a/big", random.Random(4).randbytes(700_000)),
        symlink(b"link", b"a"),
        member(b"link/through", b"via a link"),
        symlink(b"abs", b"/a"),
        member(b"abs/through2", b"via an absolute link"),
        member(b"implied/dir/f", b"x", uid=5, gid=6),
        hard_link(b"hl", b"a/f"),
        hard_link(b"hls", b"link"),
        member(b"fifo", b"", b"6", mode=0o600),
        member(b"chr", b"", b"3", device=(1, 3), mode=0o666),
        member(b"blk", b"", b"4", device=(7, 300), mode=0o640),
        directory(b"sg", 0o2775, gid=20),
        member(b"sg/f", b"1"),
        directory(b"sg/d"),
        directory(b"sticky", 0o1777),
        pax(
            [
                (b"mtime", b"1234567890.123456789"),
                (b"SCHILY.xattr.user.x", b"v\0\n1"),
                (b"SCHILY.xattr.security.capability", CAPABILITY),
            ]
        )
        + member(b"px", b"y"),
        pax([(b"atime", b"1700000000.5"), (b"size", b"3")]) + header(b"psize", 0) + padded(b"abc"),
        long_name(b"l" * 60 + b"/" + b"m" * 80) + member(b"short", b"long"),
        member('uml\u00e4ut <&>\u2028"\\'.encode(), b"u"),
        member(b"bad\xff\xfe", b"b"),
        member(b"name", b"pp", tail=b"pre/fix"),
        pax([(b"comment", b"x")], b"g"),
        member(b"empty"),
        symlink(b"rel", b"../../../../etc"),
        member(b"dotdot/../norm", b"n"),
        member(b"//slashes///x", b"n"),
        member(b"./.dot", b"n"),
        member(b"old", b"old", b"\0"),
        header(b"olddir/", 0, b"\0", mode=0o700),
        member(b".wh.gone"),
        directory(b"opq"),
        member(b"opq/.wh..wh..opq"),
        member(b"opq/new", b"1"),
        member(b"many", b"7", uid=3_000_000, gid=2**21),
    ) + bytes(3000)


def settled(listing: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """A tree without what an archive does not say: times of directories nobody described, and …"""
    listing.pop("PaxHeaders.0", None)  # the peers make a parent for a global header
    implied = ("implied", "implied/dir", "l" * 60, "pre", "pre/fix", "slashes", "gone")
    return {
        name: (*entry[:6], *(() if name in implied else entry[6:]))
        for name, entry in listing.items()
    }


def entries(journal: str, content: dict[bytes, bytes]) -> list[tuple[object, ...]]:
    """A journal with its raw bytes joined, as one may cut them anywhere.

    `content` is of files which one side keeps in the journal itself.
    """
    found: list[tuple[object, ...]] = []
    raw = b""
    for entry in read_journal(journal):
        if entry.type == SEGMENT:
            raw += entry.data()
        elif entry.path() in content:
            found += [(raw,), (entry.path(),)]
            raw = content[entry.path()] if entry.size else b""
        else:
            found += [(raw,), (entry.path(), entry.size, entry.data())]
            raw = b""
    return [*found, (raw,)]


def test_the_same_tree_and_the_same_journal(peer: Peer, tmp_path: Path) -> None:
    layer = layer_of_everything()
    peer.store(layer)
    (theirs,) = peer.layers()
    ours = tmp_path / "ours"
    ours.mkdir()
    journal = str(tmp_path / "journal.gz")
    for where in ("thread", "worker"):
        shutil.rmtree(ours)
        ours.mkdir()
        result = unpack(reader(gzip.compress(layer)), str(ours), tar_split=journal, where=where)
        assert result.diff_id == f"sha256:{theirs}"
        assert settled(tree(ours)) == settled(tree(peer.diff(theirs)))
        by_link = {b"link/through": b"via a link", b"abs/through2": b"via an absolute link"}
        peers = entries(peer.journal(theirs), by_link)
        for our, their in zip(entries(journal, by_link), peers, strict=True):
            assert our == their
        assert b"".join(assemble(journal, [str(ours)])) == layer
    assert b"".join(assemble(peer.journal(theirs), [peer.diff(theirs)])) == layer
    record = json.loads((peer.root / "overlay-layers/layers.json").read_text())[0]
    assert (list(result.uids), list(result.gids)) == (record["uidset"], record["gidset"])
    assert result.size == record["diff-size"]


def test_a_peer_exports_what_we_stored(peer: Peer, tmp_path: Path) -> None:
    layer = layer_of_everything()
    peer.store(layer)
    (theirs,) = peer.layers()
    shutil.rmtree(peer.diff(theirs))
    os.mkdir(peer.diff(theirs))
    unpack(reader(layer), peer.diff(theirs), tar_split=peer.journal(theirs), where="thread")
    peer.skopeo(peer.name, f"dir:{tmp_path}/out")  # it checks the digest
    assert any(path.stat().st_size == len(layer) for path in (tmp_path / "out").iterdir())


def test_the_same_capability_works(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    unpack(reader(layer_of_everything()), str(tmp_path / "ours"), where="thread")
    assert os.getxattr(tmp_path / "ours/px", "security.capability") == CAPABILITY
    assert os.getxattr(tmp_path / "ours/opq", "trusted.overlay.opaque") == b"y"


def test_removal_is_that_of_vfs(tmp_path: Path) -> None:
    layers = [
        archive(
            directory(b"a") + member(b"a/old", b"1") + directory(b"a/sub") + member(b"a/sub/x"),
            directory(b"b") + member(b"b/one") + member(b"b/two"),
            member(b"file", b"1") + symlink(b"link", b"b") + directory(b"dir") + member(b"dir/f"),
            directory(b"opq") + member(b"opq/old") + directory(b"opq/sub") + member(b"opq/sub/f"),
        ),
        archive(
            member(b".wh.file"),
            directory(b"a"),
            member(b"a/.wh.sub"),
            member(b"a/new", b"2"),
            member(b"b/.wh.one"),
            member(b"link/three", b"3"),
            member(b"dir", b"now a file"),
            directory(b"opq"),
            member(b"opq/new", b"2"),
            member(b"opq/.wh..wh..opq"),
            member(b".wh..wh.plnk", b""),
        ),
        archive(
            directory(b"file"), member(b"file/x", b"3"), member(b".wh.b"), member(b"a/old", b"3")
        ),
    ]
    peer = Peer(tmp_path, "vfs")
    peer.store(*layers)
    ours = tmp_path / "ours"
    ours.mkdir()
    for layer in layers:
        unpack(reader(layer), str(ours), whiteouts="remove", where="thread")
    records = json.loads((peer.root / "vfs-layers/layers.json").read_text())
    (top,) = {r["id"] for r in records} - {r.get("parent") for r in records}
    assert tree(ours, times=False) == tree(peer.root / "vfs/dir" / top, times=False)


def test_peers_export_what_they_could_not_have_stored(peer: Peer, tmp_path: Path) -> None:
    """Our journals of sparse files and of names that come twice are good for the peers' readers."""
    peer.store(archive(member(b"f", b"some layer")))
    regions = b"0,5,100000,6"
    layer = archive(
        pax([(b"GNU.sparse.map", regions), (b"GNU.sparse.size", b"200000")])
        + member(b"sparse", b"hello world"),
        member(b"twice", b"first"),
        directory(b"d", 0o700),
        directory(b"d/", 0o755),
        member(b"twice", b"second"),
    )
    (theirs,) = peer.layers()
    shutil.rmtree(peer.diff(theirs))
    os.mkdir(peer.diff(theirs))
    result = unpack(
        reader(layer), peer.diff(theirs), tar_split=peer.journal(theirs), where="thread"
    )
    # The store claims our layer under the digest of its own, so the export ends in a complaint that
    # names the digest of what it put together: ours, to the byte.
    command = ["skopeo", "--insecure-policy", "copy", "-q", peer.name, f"dir:{tmp_path}/out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"expected sha256:{theirs}, got {result.diff_id}" in done.stderr


def listing(data: bytes) -> list[tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive_file:
        return [
            (
                item.name,
                item.type,
                item.mode & 0o7777,
                item.uid,
                item.gid,
                item.size,
                item.linkname,
                (item.devmajor, item.devminor),
                {key: value for key, value in item.pax_headers.items() if "xattr" in key},
                None if ".wh." in item.name else int(item.mtime),
            )
            for item in archive_file
        ]


@pytest.mark.skipif(not shutil.which("podman"), reason="compares with podman")
def test_a_container_is_committed_as_by_podman(peer: Peer) -> None:
    peer.store(
        archive(directory(b"opq"), member(b"opq/old"), member(b"gone", b"x"), directory(b"a"))
    )
    (image_layer,) = peer.layers()
    peer.podman("create", "--name", "c", "x", "true")
    (container,) = (
        path.name for path in (peer.root / "overlay").iterdir() if (path / "lower").exists()
    )
    for path in Path(peer.diff(container)).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    changes = archive(
        directory(b"a-b"),
        member(b"a-b/x"),
        directory(b"opq2"),
        member(b"opq2/.wh..wh..opq"),
        layer_of_everything(),
    )
    unpack(reader(changes), peer.diff(container), where="thread")
    ours = listing(b"".join(write_diff(peer.diff(container), [peer.diff(image_layer)])))
    peer.podman("commit", "-q", "c", "new")
    (new,) = {*peer.layers()} - {image_layer, container}
    theirs = listing(b"".join(assemble(peer.journal(new), [peer.diff(new)])))
    assert len(ours) > 40 or ours == theirs
    assert ours == theirs


def test_entries_are_what_the_journal_says() -> None:
    assert Entry(1, name_raw="//4=").path() == b"\xff\xfe"
