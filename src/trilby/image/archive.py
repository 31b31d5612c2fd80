"""Tar archives of images: read members in place, and write members whose size is not known yet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from trilby.image.blobfiles import write_failed, write_stream
from trilby.image.copy_errors import CorruptArchive
from trilby.image.errors import ImageNotFound
from trilby.image.streams import FileStream
from trilby.storage.decompress import open_stream, sniff
from trilby.storage.tarerrors import CorruptLayer
from trilby.storage.tarheader import field, octal
from trilby.system.files import write_all

if TYPE_CHECKING:
    from trilby.image.transport import BlobStream
    from trilby.oci.digest import Digest

BLOCK = 512
#: A long name or a PAX header may be this long, an archive may have so many members.
EXTENSION_LIMIT = 1 << 20
MEMBER_LIMIT = 100_000
LINK_LIMIT = 8
MAX_SIZE = 1 << 53
#: The largest size that the eleven octal digits of a header can say.
OCTAL_SIZE = 8**11 - 1


class Place(msgspec.Struct, frozen=True):
    """Where a member's data is in the archive, in bytes; or what it links to."""

    offset: int
    size: int
    link: str = ""


class ArchiveReader:
    """Members of a tar archive by name. A compressed archive is first spooled to a file."""

    def __init__(self, path: str, what: str, temp_dir: str | None = None) -> None:
        """Raises ImageNotFound, CorruptArchive, WriteFailed (no room to spool)."""
        self.what = what
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ImageNotFound(f"opening {what}: {error.strerror}") from error
        try:
            head = os.pread(self._fd, BLOCK, 0)
            if sniff(head) != "none" or not os.path.isfile(path):
                packed, self._fd = self._fd, -1
                self._fd = _spooled(packed, what, temp_dir)
            self.members = self._index()
        except CorruptLayer as error:
            self.close()
            raise CorruptArchive(f"opening {what}: {error.message}", hint=error.hint) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def has(self, name: str) -> bool:
        return _clean(name) in self.members

    def read(self, name: str, limit: int) -> bytes:
        """A small member's data. Raises CorruptArchive if it is missing or longer."""
        place = self._find(name)
        if place.size > limit:
            raise CorruptArchive(f"reading {name} of {self.what}: longer than {limit} bytes")
        return os.pread(self._fd, place.size, place.offset)

    def stream(self, name: str) -> FileStream:
        """A member's data. Raises CorruptArchive if it is missing."""
        place = self._find(name)
        return FileStream(self._fd, place.size, offset=place.offset, borrowed=True)

    def size(self, name: str) -> int:
        return self._find(name).size

    def _find(self, name: str) -> Place:
        place = self.members.get(_clean(name))
        for _ in range(LINK_LIMIT):
            if place is None:
                break
            if not place.link:
                return place
            place = self.members.get(place.link)
        raise CorruptArchive(
            f"reading {self.what}: it has no {name}", hint="the archive is incomplete"
        )

    def _index(self) -> dict[str, Place]:
        members: dict[str, Place] = {}
        end = os.fstat(self._fd).st_size
        offset = 0
        long_name = long_link = ""
        extended: dict[str, str] = {}
        while len(header := os.pread(self._fd, BLOCK, offset)) == BLOCK and header.strip(b"\0"):
            name, link, size, kind = self._parse(header)
            size = int(extended.get("size", size))
            data = offset + BLOCK
            offset = data + -(-size // BLOCK) * BLOCK
            if data + size > end:
                raise CorruptArchive(
                    f"reading {self.what}: it ends in the middle of {name!r}",
                    hint="the archive is cut off; make it again",
                )
            if kind in b"LKx":
                text = self._extension(data, size)
                if kind == ord("L"):
                    long_name = text.rstrip(b"\0").decode(errors="surrogateescape")
                elif kind == ord("K"):
                    long_link = text.rstrip(b"\0").decode(errors="surrogateescape")
                else:
                    extended = _pax_records(text)
                continue
            name = _clean(extended.get("path") or long_name or name)
            link = extended.get("linkpath") or long_link or link
            long_name = long_link = ""
            extended = {}
            if kind in b"0\x007":
                members[name] = Place(data, size)
            elif kind in b"12":
                base = os.path.dirname(name) if kind == ord("2") else ""
                members[name] = Place(0, 0, _clean(os.path.join(base, link)) or ".")
            if len(members) > MEMBER_LIMIT:
                raise CorruptArchive(f"reading {self.what}: more than {MEMBER_LIMIT} members")
        return members

    def _parse(self, header: bytes) -> tuple[str, str, int, int]:
        try:
            return _parse(header)
        except CorruptArchive as error:
            raise CorruptArchive(f"opening {self.what}: {error.message}") from None

    def _extension(self, offset: int, size: int) -> bytes:
        if size > EXTENSION_LIMIT:
            raise CorruptArchive(f"reading {self.what}: a header of {size} bytes")
        return os.pread(self._fd, size, offset)


def _parse(header: bytes) -> tuple[str, str, int, int]:
    """Name, link target, size and type of one header block. Raises CorruptLayer."""
    name = header[:100].partition(b"\0")[0]
    try:
        stored = octal(header[148:156])
    except ValueError:
        stored = -1
    if stored != sum(header) - sum(header[148:156]) + 8 * 0x20:
        raise CorruptArchive("it is no tar archive, or damaged")
    size = field(name, "size", header[124:136], 0, MAX_SIZE)
    kind = header[156]
    prefix = header[345:500].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    link = header[157:257].partition(b"\0")[0]
    if kind in b"123456":
        size = 0
    return (
        name.decode(errors="surrogateescape"),
        link.decode(errors="surrogateescape"),
        size,
        kind,
    )


def _pax_records(data: bytes) -> dict[str, str]:
    records: dict[str, str] = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or not 0 < int(length) <= len(data):
            raise CorruptArchive("reading an archive: a PAX header is malformed")
        record, data = data[len(length) + 1 : int(length) - 1], data[int(length) :]
        key, _, value = record.decode(errors="surrogateescape").partition("=")
        records[key] = value
    if not records.get("size", "0").isdigit():
        raise CorruptArchive("reading an archive: a PAX header has a malformed size")
    return records


def _clean(name: str) -> str:
    cleaned = os.path.normpath("/" + name)
    return cleaned.lstrip("/")


def _spooled(fd: int, what: str, temp_dir: str | None) -> int:
    """Decompress into an unnamed temporary file; takes ``fd`` over."""
    import tempfile

    try:
        with (
            os.fdopen(fd, "rb", buffering=0) as packed,
            tempfile.TemporaryFile(dir=temp_dir or default_temp_dir()) as spool,
        ):
            for block in open_stream(packed.read).blocks():
                write_all(spool.fileno(), block)
            return os.dup(spool.fileno())
    except OSError as error:
        raise write_failed(f"a temporary copy of {what}", error) from error


def default_temp_dir() -> str:
    """Where large temporary files go."""
    return os.environ.get("TMPDIR") or "/var/tmp"


class ArchiveWriter:
    """Writes a tar archive next to its final place and moves it there at the end.

    Members go straight into the archive: a header is written again once size and name are known, so
    nothing is spooled. One member at a time; the caller sees to that.
    """

    def __init__(self, path: str, what: str) -> None:
        """Raises WriteFailed."""
        self.what = what
        self._path = os.path.abspath(path)
        folder, name = os.path.split(self._path)
        self._temporary = os.path.join(folder, f".{name[:100]}.{os.urandom(6).hex()}.tmp")
        self._end = 0
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._temporary, flags, 0o644)
        except OSError as error:
            raise write_failed(what, error) from error

    def add(self, name: str, data: bytes) -> None:
        """A member with this content. Raises WriteFailed."""
        try:
            os.lseek(self._fd, self._end, os.SEEK_SET)
            padding = b"\0" * (-len(data) % BLOCK)
            write_all(self._fd, tar_header(name, len(data)) + data + padding)
            self._end += BLOCK + len(data) + len(padding)
        except OSError as error:
            raise write_failed(self.what, error) from error

    async def add_stream(self, stream: BlobStream) -> tuple[Digest, int, int]:
        """The stream's SHA-256, its length, and a mark for :meth:`name_last`; unnamed so far.

        If it fails, the archive is as it was.
        """
        start = self._end
        os.lseek(self._fd, start + BLOCK, os.SEEK_SET)
        digest, size = await write_stream(stream, self._fd, self.what)
        return digest, size, start

    def name_last(self, name: str, size: int, start: int) -> FileStream:
        """Keep what :meth:`add_stream` wrote, under this name; a stream to read it again."""
        try:
            os.lseek(self._fd, start, os.SEEK_SET)
            write_all(self._fd, tar_header(name, size))
            self._end = start + BLOCK + size + (-size % BLOCK)
            os.ftruncate(self._fd, self._end)
        except OSError as error:
            raise write_failed(self.what, error) from error
        return FileStream(self._fd, size, offset=start + BLOCK, borrowed=True)

    def commit(self) -> None:
        """End the archive and put it in its place. Raises WriteFailed."""
        try:
            os.ftruncate(self._fd, self._end + 2 * BLOCK)
            os.fsync(self._fd)
            os.rename(self._temporary, self._path)
            self._temporary = ""
        except OSError as error:
            raise write_failed(self.what, error) from error

    def close(self) -> None:
        """Close, and remove what was not committed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary:
            os.unlink(self._temporary)
            self._temporary = ""


def tar_header(name: str, size: int) -> bytes:
    """One ustar header of a plain file, owned by root, with no time: the same every time."""
    encoded = name.encode()
    if len(encoded) > 100:
        raise ValueError(f"no archive that we write has so long a name: {name}")
    # GNU's binary form for what octal cannot say.
    length = b"%011o\0" % size if size <= OCTAL_SIZE else b"\x80" + size.to_bytes(11, "big")
    header = bytearray(BLOCK)
    header[0 : len(encoded)] = encoded
    header[100:124] = b"0000644\0" + b"0000000\0" * 2
    header[124:136] = length
    header[136:148] = b"0" * 11 + b"\0"
    header[148:156] = b" " * 8
    header[156] = ord("0")
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)
