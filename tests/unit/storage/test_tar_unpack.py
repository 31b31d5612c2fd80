"""Layers that behave: what ends up in the tree and in the journal. As whoever runs the tests."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.tars import (
    END,
    archive,
    directory,
    hard_link,
    header,
    long_name,
    member,
    padded,
    pax,
    reader,
    symlink,
    tarfile_archive,
)

from trilby.storage.assemble import assemble, packed_size
from trilby.storage.decompress import open_stream
from trilby.storage.tarerrors import CorruptLayer
from trilby.storage.tarsplit_read import Entry, read_journal
from trilby.storage.unpack import Owners, Unpacked, unpack

# Tests run as anybody: where that is not root, owners cannot be set.
OWNERS = Owners(ignore_chown_errors=True)


def run(tmp_path: Path, data: bytes, *, where: str = "thread", chunk: int = 1 << 20) -> Unpacked:
    """Unpack `data` into tmp_path/root, and see that it can be put together again."""
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    journal = str(tmp_path / "journal")
    result = unpack(
        reader(data, chunk),
        str(root),
        tar_split=journal,
        whiteouts="overlay-user",
        owners=OWNERS,
        where=where,
    )
    plain = b"".join(assemble(journal, [str(root)]))
    assert f"sha256:{hashlib.sha256(plain).hexdigest()}" == result.diff_id
    assert packed_size(journal) == len(plain) == result.size
    return result


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "bzip2", "xz"])
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_every_compression_is_recognised(tmp_path: Path, compression: str, chunk: int) -> None:
    plain = archive(directory(b"d"), member(b"d/f", random.Random(1).randbytes(3000)))
    packed = {
        "none": plain,
        "gzip": gzip.compress(plain),
        "zstd": zstandard.compress(plain),
        "bzip2": bz2.compress(plain),
        "xz": lzma.compress(plain),
    }[compression]
    result = run(tmp_path, packed, chunk=chunk)
    assert result.compression == compression
    assert result.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert result.compressed_digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert (result.size, result.compressed_size, result.files) == (len(plain), len(packed), 2)
    assert (result.content_size, result.uids, result.gids) == (3000, (0,), (0,))


def test_members_of_one_compressed_stream_follow_each_other(tmp_path: Path) -> None:
    plain = archive(member(b"f", b"x" * 5000))
    parts = [plain[:100], plain[100:4000], plain[4000:]]
    packed = b"".join(gzip.compress(part) for part in parts) + bytes(700)
    assert run(tmp_path, packed).size == len(plain)
    skippable = (0x184D2A53).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"table"
    packed = skippable + b"".join(zstandard.compress(part) for part in parts) + skippable
    (tmp_path / "z").mkdir()
    assert run(tmp_path / "z", packed, chunk=11).size == len(plain)


def zstd_with_checksum(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


@pytest.mark.parametrize(
    "compress", [gzip.compress, zstd_with_checksum, bz2.compress, lzma.compress]
)
def test_a_damaged_stream_is_corrupt(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    packed = compress(archive(member(b"f", random.Random(2).randbytes(9000))))
    for cut in (len(packed) - 1, len(packed) - 9, len(packed) // 2, 12):
        with pytest.raises(CorruptLayer, match="breaks off"):
            run(tmp_path, packed[:cut])
    broken = bytearray(packed)
    broken[len(packed) // 2] ^= 0x55
    with pytest.raises(CorruptLayer):
        run(tmp_path, bytes(broken))


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptLayer, match="unknown compression 'lzip'"):
        unpack(reader(b""), str(tmp_path), compression="lzip", where="thread")


def test_kinds_modes_and_times(tmp_path: Path) -> None:
    run(
        tmp_path,
        archive(
            directory(b"./", 0o700),
            directory(b"d/", 0o1755, mtime=5),
            member(b"d/suid", b"1", mode=0o4711, mtime=6),
            member(b"d/open", b"1", mode=0o666),
            symlink(b"d/link", b"../elsewhere"),
            hard_link(b"d/hard", b"d/suid"),
            member(b"d/fifo", b"", b"6", mode=0o622),
            pax([(b"mtime", b"1.5"), (b"atime", b"0.5")]) + member(b"f", b""),
            pax([(b"mtime", b"-1.25")]) + member(b"old", b""),
            member(b"minus", b"", mtime=-7),
            header(b"v7dir/", 0, b"\0", mode=0o711, magic=bytes(8)),
            member(b"v7", b"7", b"\0", magic=bytes(8)),
            member(b"contiguous", b"7", b"7"),
        ),
    )
    root = tmp_path / "root"
    assert os.stat(root / "d").st_mode & 0o7777 == 0o1755
    assert os.stat(root / "d").st_mtime == 5
    assert os.stat(root / "d/suid").st_mode & 0o7777 == 0o644  # the hard link's header came later
    assert os.stat(root / "d/open").st_mode & 0o777 == 0o666
    assert os.readlink(root / "d/link") == "../elsewhere"
    assert os.stat(root / "d/hard").st_ino == os.stat(root / "d/suid").st_ino
    assert os.stat(root / "f").st_mtime_ns == os.stat(root / "f").st_atime_ns == 1_500_000_000
    assert os.stat(root / "old").st_mtime_ns == -1_250_000_000
    assert os.stat(root / "minus").st_mtime == -7
    assert os.stat(root / "v7dir").st_mode & 0o777 == 0o711
    assert (root / "v7").read_bytes() == (root / "contiguous").read_bytes() == b"7"


def test_long_and_odd_names(tmp_path: Path) -> None:
    long = b"l" * 200 + b"/" + b"m" * 120
    run(
        tmp_path,
        archive(
            long_name(long) + member(b"short", b"gnu"),
            long_name(b"t" * 300, b"K") + long_name(b"link") + symlink(b"x", b"y"),
            pax([(b"path", b"p" * 240), (b"comment", b"")]) + member(b"short", b"pax"),
            member(b"name", b"prefixed", tail=b"some/prefix"),
            member(b"star", b"starred", tail=b"short".ljust(131, b"\0") + bytes(32) + b"tar\0"),
            member('\u00fcml\u00e4ut<&>\u2028"\\\t'.encode(), b"u"),
            member(b"\xff\xfe", b"raw"),
            member(b"./a//b/./c/../d", b"cleaned"),
            member(b"/absolute", b"inside"),
        ),
    )
    root = os.fsencode(tmp_path / "root")
    for name, content in (
        (long, b"gnu"),
        (b"p" * 240, b"pax"),
        (b"some/prefix/name", b"prefixed"),
        (b"short/star", b"starred"),
        ('\u00fcml\u00e4ut<&>\u2028"\\\t'.encode(), b"u"),
        (b"\xff\xfe", b"raw"),
        (b"a/b/d", b"cleaned"),
        (b"absolute", b"inside"),
    ):
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == content
    assert os.readlink(os.path.join(root, b"link")) == b"t" * 300


def test_later_entries_replace_earlier_ones_and_the_archive_is_still_exact(tmp_path: Path) -> None:
    big = random.Random(3).randbytes(400_000)
    run(
        tmp_path,
        archive(
            member(b"f", b"first"),
            hard_link(b"keeps", b"f"),
            member(b"f", big),
            directory(b"d") + member(b"d/x", b"lost") + member(b"d/deep/y", big),
            member(b"d", b"now a file"),
            member(b"g", b"file") + directory(b"g") + member(b"g/inside", b"1"),
            symlink(b"s", b"d2") + directory(b"d2") + member(b"s/through", b"2"),
            directory(b"s") + member(b"s/own", b"3"),
            symlink(b"d2", b"s"),
            directory(b"s", 0o700),
            member(b"./f", b"third"),
        ),
    )
    root = tmp_path / "root"
    assert (root / "f").read_bytes() == b"third"
    assert (root / "keeps").read_bytes() == b"first"
    assert (root / "d").read_bytes() == b"now a file"
    assert (root / "g/inside").exists()
    assert (root / "s/own").exists() and not (root / "s/through").exists()
    assert os.readlink(root / "d2") == "s"
    names = [entry.path().removeprefix(b"./").rstrip(b"/") for entry in journal_files(tmp_path)]
    assert len(names) == len(set(names)), "a journal has each name but once"


def journal_files(tmp_path: Path) -> list[Entry]:
    return [entry for entry in read_journal(str(tmp_path / "journal")) if entry.type == 1]


def test_ends_of_archives(tmp_path: Path) -> None:
    body = member(b"f", b"12345")
    for number, data in enumerate(
        (
            body,
            body[:517],
            body + bytes(512),
            body + END + b"rest" * 1000,
            body + bytes(700_001),
            b"",
        )
    ):
        place = tmp_path / str(number)
        place.mkdir()
        assert run(place, data).files == (1 if data else 0)


def sparse_pax_1_0(regions: list[tuple[int, bytes]], size: int) -> bytes:
    lines = b"%d\n" % len(regions)
    for offset, data in regions:
        lines += b"%d\n%d\n" % (offset, len(data))
    body = padded(lines) + b"".join(data for _, data in regions)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"sparse"),
        (b"GNU.sparse.realsize", b"%d" % size),
    ]
    return pax(records) + member(b"GNUSparseFile.0/sparse", body)


def sparse_pax_0(regions: list[tuple[int, bytes]], size: int, minor: int) -> bytes:
    body = b"".join(data for _, data in regions)
    records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(regions))]
    if minor:
        numbers = ",".join(f"{offset},{len(data)}" for offset, data in regions)
        records += [(b"GNU.sparse.name", b"sparse"), (b"GNU.sparse.map", numbers.encode())]
    else:
        for offset, data in regions:
            records += [
                (b"GNU.sparse.offset", b"%d" % offset),
                (b"GNU.sparse.numbytes", b"%d" % len(data)),
            ]
    return pax(records) + member(b"GNUSparseFile.0/sparse" if minor else b"sparse", body)


def sparse_old(regions: list[tuple[int, bytes]], size: int) -> bytes:
    table = [b"%011o\0%011o\0" % (offset, len(data)) for offset, data in regions]
    tail = bytes(41) + b"".join(table[:4]).ljust(96, b"\0")
    tail += (b"\1" if len(table) > 4 else b"\0") + b"%011o\0" % size
    body = b"".join(data for _, data in regions)
    extra = b""
    for start in range(4, len(table), 21):
        more = b"\1" if start + 21 < len(table) else b"\0"
        extra += b"".join(table[start : start + 21]).ljust(504, b"\0") + more + bytes(7)
    return header(b"sparse", len(body), b"S", magic=b"ustar  \0", tail=tail) + extra + padded(body)


@pytest.mark.parametrize("count", [0, 1, 4, 60])
@pytest.mark.parametrize("form", ["1.0", "0.0", "0.1", "old"])
def test_sparse_files(tmp_path: Path, form: str, count: int) -> None:
    regions = [(8192 * n + 100, bytes([n + 1]) * (700 + n)) for n in range(count)]
    size = 8192 * count + 77_777
    entry = {
        "1.0": lambda: sparse_pax_1_0(regions, size),
        "0.0": lambda: sparse_pax_0(regions, size, 0),
        "0.1": lambda: sparse_pax_0(regions, size, 1),
        "old": lambda: sparse_old(regions, size),
    }[form]()
    run(tmp_path, archive(entry, member(b"next", b"after")))
    expected = bytearray(size)
    for offset, data in regions:
        expected[offset : offset + len(data)] = data
    assert (tmp_path / "root/sparse").read_bytes() == bytes(expected)
    assert (tmp_path / "root/next").read_bytes() == b"after"


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An archive as tarfile writes it: a few directories, files in them, links to them."""
    entries: list[tuple[tarfile.TarInfo, bytes]] = []
    folders = draw(st.lists(NAMES, max_size=3, unique=True))
    for name in folders:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        entries.append((info, b""))
    for name in draw(st.lists(NAMES, max_size=8, unique=True)):
        if len(name.encode()) > 200:
            continue
        if name in folders:
            continue
        where = draw(st.sampled_from(["", *(f"{folder}/" for folder in folders)]))
        info = tarfile.TarInfo(where + name)
        info.mode = draw(st.sampled_from([0o644, 0o600, 0o755, 0o4755]))
        info.mtime = draw(st.sampled_from([0, 1, 1_700_000_000, 1.5]))
        if draw(st.booleans()):
            info.pax_headers = {
                "comment": draw(st.text(max_size=20).filter(lambda t: "\0" not in t))
            }
        entries.append((info, draw(st.binary(max_size=2000))))
    form = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    return tarfile_archive(entries, form)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=archives(), chunk=st.sampled_from([511, 5000, 1 << 20]))
def test_what_tarfile_writes_survives(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk: int
) -> None:
    try:
        run(tmp_path_factory.mktemp("layer"), data, chunk=chunk)
    except CorruptLayer as error:
        assert "File name too long" in str(error)


def test_a_stream_can_be_read_in_any_way() -> None:
    plain = random.Random(5).randbytes(600_000)
    packed = gzip.compress(plain)
    stream = open_stream(reader(packed))
    first = stream.read(10)
    buffer = bytearray(1000)
    count = stream.readinto(buffer)
    assert first + buffer[:count] + stream.read() == plain
    assert stream.read(5) == b"" and stream.readinto(buffer) == 0
    digest = f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert (stream.diff_id(), stream.size) == (digest, len(plain))
    stream = open_stream(reader(plain), diff_id=False)
    stream.read(7)
    stream.drain()
    assert (stream.diff_id(), stream.compressed_digest(), stream.compression) == (
        "",
        digest,
        "none",
    )
    stream = open_stream(reader(plain), compressed_digest=False)
    assert b"".join(stream.blocks()) == plain and stream.compressed_digest() == digest


def test_the_journal_tells_damage(tmp_path: Path) -> None:
    data = archive(member(b"f", b"12345"), member(b"g", b"x" * 1000))
    run(tmp_path, data)
    root, journal = tmp_path / "root", str(tmp_path / "journal")
    (root / "f").write_bytes(b"12346")
    with pytest.raises(CorruptLayer, match="the content of 'f' has changed"):
        list(assemble(journal, [str(root)]))
    (root / "f").write_bytes(b"1234")
    with pytest.raises(CorruptLayer, match="'f' has 4 bytes, not 5"):
        list(assemble(journal, [str(root)]))
    (root / "f").unlink()
    (root / "f").symlink_to("/etc/passwd")
    with pytest.raises(CorruptLayer, match="'f' is missing"):
        list(assemble(journal, [str(root)]))
    (tmp_path / "below").mkdir()
    (tmp_path / "below/f").write_bytes(b"12345")
    assert b"".join(assemble(journal, [str(root), str(tmp_path / "below")])) == data
    for text in (b"{}\n", b'{"type":3,"position":0}\n', b'{"type":2,"position":7}\n', b"["):
        Path(journal).write_bytes(gzip.compress(text))
        with pytest.raises(CorruptLayer, match="entry 0"):
            packed_size(journal)
    Path(journal).write_bytes(gzip.compress(data)[:-20])
    with pytest.raises(CorruptLayer):
        packed_size(journal)
