"""Write tar entries for the files of a tree: ustar, with PAX records where that does not do."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from trilby.storage.tarfault import corrupt, shown
from trilby.storage.tarheader import HEADER

END = bytes(1024)
_BLOCK = 256 * 1024
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
_XATTR = b"SCHILY.xattr."
Ranges = tuple[tuple[int, int, int], ...]


class Header:
    """The fields of one entry; `mtime` in nanoseconds since 1970, names as bytes."""

    __slots__ = ("device", "gid", "kind", "link", "mode", "mtime", "name", "size", "uid", "xattrs")

    def __init__(self, name: bytes, kind: bytes, mode: int, mtime: int) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode
        self.mtime = mtime
        self.size = self.uid = self.gid = 0
        self.device = (0, 0)
        self.link = b""
        self.xattrs: dict[bytes, bytes] = {}

    def blocks(self) -> bytes:
        """Return the header block, after a PAX header if one is needed."""
        records: list[tuple[bytes, bytes]] = []
        name, prefix = _split(self.name)
        if name is None:
            records.append((b"path", self.name))
            name, prefix = self.name[-100:], b""
        link = self.link
        if len(link) > 100 or not link.isascii():
            records.append((b"linkpath", link))
            link = link[:100]
        seconds, fraction = divmod(self.mtime, 1_000_000_000)
        if fraction or not 0 <= seconds < 8**11:
            records.append((b"mtime", _pax_time(self.mtime)))
            seconds = min(max(seconds, 0), 8**11 - 1)
        numbers = {b"uid": self.uid, b"gid": self.gid, b"size": self.size}
        for key, limit in ((b"uid", 8**7), (b"gid", 8**7), (b"size", 8**11)):
            if numbers[key] >= limit:
                records.append((key, b"%d" % numbers[key]))
                numbers[key] = 0
        records += [(_XATTR + key, value) for key, value in sorted(self.xattrs.items())]
        block = _block(name, prefix, link, self.kind, self.mode, numbers, seconds, self.device)
        return _pax_header(self.name, records) + block if records else block


def _split(name: bytes) -> tuple[bytes | None, bytes]:
    """Return (name, prefix) for a ustar header, (None, b"") if the name does not fit."""
    if not name.isascii():
        return None, b""
    if len(name) <= 100:
        return name, b""
    cut = name.find(b"/", len(name) - 101, len(name) - 1)
    if cut <= 0 or cut > 155:
        return None, b""
    return name[cut + 1 :], name[:cut]


def _pax_time(time: int) -> bytes:
    sign = b"-" if time < 0 else b""
    seconds, fraction = divmod(abs(time), 1_000_000_000)
    text = b"%b%d.%09d" % (sign, seconds, fraction)
    return text.rstrip(b"0").rstrip(b".")


def _pax_header(name: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    data = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        total = length + len(str(length))
        if len(str(total)) > len(str(length)):
            total += 1
        data += b"%d %b=%b\n" % (total, key, value)
    folder, _, base = name.rstrip(b"/").rpartition(b"/")
    label = (folder + b"/" if folder else b"") + b"PaxHeaders.0/" + base
    if len(label) > 100 or not label.isascii():
        label = b"PaxHeaders.0/entry"
    numbers = {b"uid": 0, b"gid": 0, b"size": len(data)}
    block = _block(label, b"", b"", b"x", 0, numbers, 0, (0, 0))
    return block + data + bytes(-len(data) % 512)


def _block(
    name: bytes,
    prefix: bytes,
    link: bytes,
    kind: bytes,
    mode: int,
    numbers: dict[bytes, int],
    seconds: int,
    device: tuple[int, int],
) -> bytes:
    block = HEADER.pack(
        name,
        b"%07o\0%07o\0%07o\0" % (mode, numbers[b"uid"], numbers[b"gid"]),
        b"%011o\0" % numbers[b"size"],
        b"%011o\0" % seconds,
        b" " * 8,
        kind,
        link,
        b"ustar\x0000",
        b"",
        b"%07o\0" % device[0],
        b"%07o\0" % device[1],
        prefix,
        b"",
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _container_id(number: int, ranges: Ranges, name: bytes) -> int:
    for container, host, length in ranges:
        if host <= number < host + length:
            return container + number - host
    if ranges:
        raise corrupt(f"cannot pack {shown(name)!r}: its owner {number} is in no mapped range")
    return number


class TreePacker:
    """Turns files of one tree into entries; the later names of an inode become hard links."""

    def __init__(self, uids: Ranges = (), gids: Ranges = ()) -> None:
        self._uids = uids
        self._gids = gids
        self._seen: dict[tuple[int, int], bytes] = {}

    def header(self, dir_fd: int, base: bytes, path: bytes, info: os.stat_result) -> Header | None:
        """Return the header of dir_fd/base as the entry `path`; None for what tar cannot hold."""
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            return None  # a socket
        folder = kind == b"5"
        header = Header(
            path + b"/" if folder else path, kind, stat.S_IMODE(info.st_mode), info.st_mtime_ns
        )
        header.uid = _container_id(info.st_uid, self._uids, path)
        header.gid = _container_id(info.st_gid, self._gids, path)
        header.xattrs = read_xattrs(dir_fd, base)
        if kind == b"2":
            header.link = os.readlink(base, dir_fd=dir_fd)
        elif kind in (b"3", b"4"):
            header.device = (os.major(info.st_rdev), os.minor(info.st_rdev))
        elif kind == b"0":
            header.size = info.st_size
        if not folder and info.st_nlink > 1:
            first = self._seen.setdefault((info.st_dev, info.st_ino), path)
            if first != path:
                header.kind, header.link, header.size = b"1", first, 0
        return header

    def entry(self, dir_fd: int, base: bytes, path: bytes, info: os.stat_result) -> Iterator[bytes]:
        """Yield the entry for dir_fd/base: header, data, padding. Raises OSError, CorruptLayer."""
        header = self.header(dir_fd, base, path, info)
        if header is None:
            return
        yield header.blocks()
        if header.kind == b"0" and header.size:
            yield from _data(dir_fd, base, path, header.size)


def _data(dir_fd: int, base: bytes, path: bytes, size: int) -> Iterator[bytes]:
    fd = os.open(base, _OPEN, dir_fd=dir_fd)
    try:
        left = size
        while left:
            piece = os.read(fd, min(left, _BLOCK))
            if not piece:
                raise corrupt(f"cannot pack {shown(path)!r}: it shrank while it was read")
            left -= len(piece)
            yield piece
    finally:
        os.close(fd)
    if size % 512:
        yield bytes(-size % 512)


def read_xattrs(dir_fd: int, base: bytes) -> dict[bytes, bytes]:
    """Return the attributes that layers keep: capabilities and the user's own."""
    path = b"/proc/self/fd/%d/%b" % (dir_fd, base)
    found = {}
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}  # this file system has none
    for name in names:
        overlay = name.startswith(("user.overlay.", "user.containers."))
        if name == "security.capability" or (name.startswith("user.") and not overlay):
            found[os.fsencode(name)] = os.getxattr(path, name, follow_symlinks=False)
    return found
