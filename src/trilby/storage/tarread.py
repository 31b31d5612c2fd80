"""Read a tar stream member by member, fast, keeping every raw byte for the tar-split journal.

Follows POSIX ustar and pax, GNU tar's and star's extensions, with the readings of Go's archive/tar,
so that what other tools of the container world accept means the same here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from trilby.storage import tarheader, tarsparse
from trilby.storage.tarextend import Extension
from trilby.storage.tarfault import corrupt, shown

MAX_EXTENSION = 1 << 20  # bytes of one PAX header or GNU long name
# Entries of these types have no data, whatever their size field says.
HEADER_ONLY = frozenset(b"123456")
REGULAR = frozenset(b"07\0S")


class Member:
    """One archive member; names are bytes as the archive has them, times nanoseconds since 1970.

    `kind` is the type byte as a number; `size` the bytes of data that follow; `sparse` maps them to
    places in a file of `real_size` bytes. `xattrs` is None if there are none.
    """

    __slots__ = (
        "atime",
        "device",
        "gid",
        "kind",
        "link",
        "mode",
        "mtime",
        "name",
        "real_size",
        "size",
        "sparse",
        "uid",
        "xattrs",
    )

    def __init__(
        self, name: bytes, kind: int, owner: tuple[int, int, int], size: int, mtime: int
    ) -> None:
        self.name = name
        self.kind = kind
        self.mode, self.uid, self.gid = owner
        self.size = self.real_size = size
        self.mtime = self.atime = mtime
        self.link = b""
        self.device = (0, 0)
        self.xattrs: dict[bytes, bytes] | None = None
        self.sparse: tarsparse.SparseMap | None = None


def _with_prefix(header: bytes, prefix: bytes, name: bytes) -> bytes:
    if header[508:512] == b"tar\0":
        prefix = prefix[:131]  # star keeps times behind it
    prefix = prefix.partition(b"\0")[0]
    return prefix + b"/" + name if prefix else name


def _size(name: bytes, data: bytes) -> int:
    try:
        plain = data[11] <= 0x20 and data[:11].isdigit()
        size = int(data[:11], 8) if plain else tarheader.number(data)
    except ValueError:
        size = -1
    if not 0 <= size <= tarheader.MAX_SIZE:
        raise corrupt(f"cannot read the layer: {shown(name)!r}: bad size {data!r}")
    return size


class TarReader:
    """Iterate over a tar stream given as blocks of any size.

    After `next`, read the data with `take` or `chunks`; the next call skips what is left of it.
    With `keep_raw`, `raw` collects every byte that is not data: who wants them empties the list.
    """

    __slots__ = (
        "_blocks",
        "_buffer",
        "_left",
        "_numbers",
        "_owners",
        "_pad",
        "_position",
        "_sums",
        "_times",
        "keep_raw",
        "raw",
    )

    def __init__(self, blocks: Iterator[bytes], *, keep_raw: bool = False) -> None:
        self._blocks = blocks
        self._buffer = b""
        self._position = 0
        self._left = 0  # data of the current member that is not read yet
        self._pad = 0  # zero bytes after it
        self._sums: dict[bytes, int] = {}
        self._owners: dict[bytes, tuple[int, int, int]] = {}
        self._times: dict[bytes, int] = {}
        self.keep_raw = keep_raw
        self.raw: list[bytes] = []

    def next(self) -> Member | None:
        """Return the next member, or None at the end of the archive. Raises CorruptLayer."""
        if self._left:
            for _ in self.chunks():
                pass
        extension: Extension | None = None
        while True:
            header = self._header()
            if header is None:
                if extension is not None:
                    raise corrupt("cannot read the layer: the archive ends after a PAX header")
                return None
            name, owner, size, mtime, _, kind, link, magic, *more = tarheader.HEADER.unpack(header)
            code = kind[0]
            name = name.partition(b"\0")[0]
            if more[3][0] and magic[:6] == b"ustar\0":
                name = _with_prefix(header, more[3], name)
            length = _size(name, size)
            if code not in b"xgLK":
                break
            if code == 0x67:
                # Of the whole archive: it says nothing to us, but is a member of its own.
                self._extension_data(name, length, 0)
                self._pad = -length & 511
                return Member(name, code, (0, 0, 0), 0, 0)
            data = self._extension_data(name, length, -length & 511)
            extension = extension or Extension()
            extension.add(code, name, data)
        member = Member(name, code, self._owner(name, owner), length, self._time(name, mtime))
        if code not in b"0\0" or extension is not None:
            self._special(member, header, link, more, extension)
        if not code and member.name[-1:] == b"/":
            member.kind = 0x35  # a directory of archives older than POSIX
        if member.kind in HEADER_ONLY:
            member.size = member.real_size = 0
        self._left = member.size
        self._pad = -member.size & 511
        return member

    def take(self) -> bytes | None:
        """Return the member's data if it is at hand in one piece, else None (then use `chunks`)."""
        start = self._position
        end = start + self._left
        if end > len(self._buffer):
            return None
        self._position = end
        self._left = 0
        return self._buffer[start:end]

    def chunks(self) -> Iterator[bytes]:
        """Yield what is left of the member's data. Raises CorruptLayer if it breaks off."""
        while self._left:
            start = self._position
            if start == len(self._buffer) and not self._fill(1):
                raise corrupt("cannot read the layer: the archive breaks off within a file's data")
            start = self._position
            piece = self._buffer[start : start + self._left]
            self._position = start + len(piece)
            self._left -= len(piece)
            yield piece

    def rest(self) -> Iterator[bytes]:
        """Yield everything after the archive's end: padding, or whatever somebody put there."""
        if self._position < len(self._buffer):
            yield self._buffer[self._position :]
        self._buffer, self._position = b"", 0
        yield from self._blocks

    def _fill(self, size: int) -> bool:
        """Have at least `size` bytes at hand; return whether the stream had as many."""
        have = len(self._buffer) - self._position
        if have >= size:
            return True
        pieces = [self._buffer[self._position :]] if have else []
        while have < size:
            block = next(self._blocks, b"")
            if not block:
                break
            pieces.append(block)
            have += len(block)
        self._buffer = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._position = 0
        return have >= size

    def _header(self) -> bytes | None:
        """Return the next header block, None at the end; padding and header become raw bytes."""
        pad = self._pad
        start = self._position
        end = start + pad + 512
        if end > len(self._buffer):
            if not self._fill(pad + 512):
                self._end_of_stream(pad)
                return None
            start, end = 0, pad + 512
        header = self._buffer[start + pad : end]
        self._position = end
        self._pad = 0
        if self.keep_raw:
            self.raw.append(self._buffer[start:end] if pad else header)
        stored = header[148:156]
        expected = self._sums.get(stored)
        if expected is None:
            if len(self._sums) > 5000:
                self._sums.clear()
            expected = self._sums[stored] = tarheader.expected_sum(stored)
        if zlib.adler32(header) & 0xFFFF != expected:
            return self._odd_header(header)
        return header

    def _end_of_stream(self, pad: int) -> None:
        """The stream ends without end blocks: fine between members, not within a header."""
        rest = self._buffer[self._position :]
        self._position = len(self._buffer)
        self._pad = 0
        if self.keep_raw and rest:
            self.raw.append(rest)
        if len(rest) > pad:
            raise corrupt("cannot read the layer: the archive breaks off within a header")

    def _odd_header(self, header: bytes) -> bytes | None:
        """A checksum that is not right: the end of the archive, an old archiver, or damage."""
        if not header.strip(b"\0"):
            if not self._fill(512):
                self._end_of_stream(511)
                return None
            second = self._block()
            if second.strip(b"\0"):
                raise corrupt("cannot read the layer: data after a single block of zeros")
            return None
        if tarheader.signed_sum_matches(header):
            return header
        name = header[:100].partition(b"\0")[0]
        raise corrupt(f"cannot read the layer: wrong checksum of the header of {shown(name)!r}")

    def _block(self) -> bytes:
        """Return the next 512 bytes, and keep them as raw bytes."""
        if not self._fill(512):
            raise corrupt("cannot read the layer: the archive breaks off within a header")
        start = self._position
        block = self._buffer[start : start + 512]
        self._position = start + 512
        if self.keep_raw:
            self.raw.append(block)
        return block

    def _owner(self, name: bytes, data: bytes) -> tuple[int, int, int]:
        owner = self._owners.get(data)
        if owner is None:
            if len(self._owners) > 5000:
                self._owners.clear()
            owner = self._owners[data] = (
                tarheader.field(name, "mode", data[:8], 0, 1 << 56) & 0o7777,
                tarheader.field(name, "user id", data[8:16], 0, tarheader.MAX_ID),
                tarheader.field(name, "group id", data[16:], 0, tarheader.MAX_ID),
            )
        return owner

    def _time(self, name: bytes, data: bytes) -> int:
        time = self._times.get(data)
        if time is None:
            if len(self._times) > 5000:
                self._times.clear()
            limit = tarheader.MAX_SECONDS
            time = 1_000_000_000 * tarheader.field(name, "time", data, -limit, limit)
            self._times[data] = time
        return time

    def _special(
        self,
        member: Member,
        header: bytes,
        link: bytes,
        more: list[bytes],
        extension: Extension | None,
    ) -> None:
        """Fill in what only links, devices, sparse files and members with extensions have."""
        member.link = link.partition(b"\0")[0]
        map_in_data = extension.apply(member) if extension is not None else False
        name = member.name
        if member.kind in b"34":
            major = tarheader.field(name, "device number", more[1], 0, 0xFFFFFFFF)
            minor = tarheader.field(name, "device number", more[2], 0, 0xFFFFFFFF)
            member.device = (major, minor)
        elif member.kind == 0x53:
            regions, member.real_size = tarsparse.old_gnu_map(name, header, self._block)
            member.sparse = tarsparse.check(name, regions, member.real_size, member.size)
        elif map_in_data:
            self._read_data_map(member)

    def _read_data_map(self, member: Member) -> None:
        """The map of PAX sparse format 1.0 is part of the data: take it off."""

        def next_block() -> bytes:
            member.size -= 512
            if member.size < 0:
                raise corrupt(f"cannot read the layer: {shown(member.name)!r}: sparse map too long")
            return self._block()

        regions = tarsparse.data_map(member.name, next_block)
        member.sparse = tarsparse.check(member.name, regions, member.real_size, member.size)

    def _extension_data(self, name: bytes, size: int, pad: int) -> bytes:
        if size > MAX_EXTENSION:
            raise corrupt(
                f"cannot read the layer: PAX header or long name {shown(name)!r} of {size} bytes"
            )
        padded = size + pad
        if not self._fill(padded):
            raise corrupt("cannot read the layer: the archive breaks off within a PAX header")
        start = self._position
        data = self._buffer[start : start + padded]
        self._position = start + padded
        if self.keep_raw:
            self.raw.append(data)
        return data[:size]
