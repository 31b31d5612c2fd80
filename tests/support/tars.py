"""Archives for tests, built by hand so that they can be wrong, and trees to compare."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

END = bytes(1024)
Reader = Callable[[int], bytes]


def octal(value: int, width: int) -> bytes:
    """A header number: octal if it fits, else base-256."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (value & ((1 << 8 * width) - 1) | 1 << 8 * width - 1).to_bytes(width, "big")


def header(
    name: bytes,
    size: int = 0,
    kind: bytes = b"0",
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 1_600_000_000,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\00000",
    tail: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header block; `tail` is what comes from the prefix field (offset 345) on."""
    block = b"".join(
        (
            name[:100].ljust(100, b"\0"),
            octal(mode, 8),
            octal(uid, 8),
            octal(gid, 8),
            octal(size, 12),
            octal(mtime, 12),
            b" " * 8,
            kind,
            link[:100].ljust(100, b"\0"),
            magic,
            bytes(64),
            octal(device[0], 8),
            octal(device[1], 8),
            tail.ljust(167, b"\0"),
        )
    )
    assert len(block) == 512
    return block[:148] + (b"%06o\0 " % sum(block) if checksum is None else checksum) + block[156:]


def padded(data: bytes) -> bytes:
    """Data in whole blocks."""
    return data + bytes(-len(data) % 512)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", **fields: object) -> bytes:
    """A header and its data."""
    return header(name, len(data), kind, **fields) + padded(data)  # type: ignore[arg-type]  # as given


def directory(name: bytes, mode: int = 0o755, **fields: object) -> bytes:
    """A directory entry."""
    return member(name, b"", b"5", mode=mode, **fields)


def symlink(name: bytes, target: bytes) -> bytes:
    """A symbolic link."""
    return member(name, b"", b"2", link=target, mode=0o777)


def hard_link(name: bytes, target: bytes) -> bytes:
    """A hard link."""
    return member(name, b"", b"1", link=target)


def pax(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    """A PAX extended header with its records."""
    data = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        total = length + len(str(length))
        if len(str(total)) != len(str(length)):
            total = length + len(str(total))
        data += b"%d %s=%s\n" % (total, key, value)
    return member(b"PaxHeaders.0/x", data, kind)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """A GNU long name (or with kind K a long link) header."""
    return member(b"././@LongLink", name + b"\0", kind, magic=b"ustar  \0")


def archive(*parts: bytes) -> bytes:
    """Entries and the end of an archive."""
    return b"".join(parts) + END


def reader(data: bytes, chunk: int = 1 << 30) -> Reader:
    """A read function that gives at most `chunk` bytes a call."""
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, chunk))


def tree(root: str | os.PathLike[str], *, times: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything about every entry below `root`, by path: kind, mode, owner, content, xattrs, …"""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in sorted((*folders, *files)):
            path = os.path.join(folder, name)
            info = os.lstat(path)
            content: object = None
            if stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            elif not stat.S_ISDIR(info.st_mode):
                content = info.st_rdev
            shown = os.fsdecode(os.path.relpath(path, top))
            link = ""
            if not stat.S_ISDIR(info.st_mode) and info.st_nlink > 1:
                link = inodes.setdefault(info.st_ino, shown)
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            }
            found[shown] = (
                stat.filemode(info.st_mode),
                info.st_uid,
                info.st_gid,
                content,
                tuple(sorted(xattrs.items())),
                link,
                info.st_mtime_ns if times else 0,
            )
    return found


def oci_layout(path: Path, layers: list[bytes]) -> None:
    """An OCI image layout with one image of gzip'd `layers`."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    base = "application/vnd.oci.image"
    descriptors = [put(gzip.compress(layer, 1), f"{base}.layer.v1.tar+gzip") for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{base}.manifest.v1+json",
        "config": put(json.dumps(config).encode(), f"{base}.config.v1+json"),
        "layers": descriptors,
    }
    index = {
        "schemaVersion": 2,
        "manifests": [put(json.dumps(manifest).encode(), f"{base}.manifest.v1+json")],
    }
    (path / "index.json").write_text(json.dumps(index))
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def tarfile_archive(
    entries: list[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.PAX_FORMAT
) -> bytes:
    """An archive as Python's tarfile writes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as out:
        for info, data in entries:
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return stream.getvalue()
