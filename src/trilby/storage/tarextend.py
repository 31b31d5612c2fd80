"""What PAX headers and GNU long names before a member change about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trilby.storage import tarheader, tarsparse
from trilby.storage.tarfault import corrupt, shown

if TYPE_CHECKING:
    from trilby.storage.tarread import Member

_XATTR = b"SCHILY.xattr."
_MAX_HEADERS = 16  # before one member


class Extension:
    """The extension headers in front of one member, in the order they came."""

    __slots__ = ("_count", "_link", "_name", "_records", "_where")

    def __init__(self) -> None:
        self._count = 0
        self._name: bytes | None = None
        self._link: bytes | None = None
        self._where = b""
        self._records: list[tuple[bytes, bytes]] = []

    def add(self, code: int, name: bytes, data: bytes) -> None:
        """Take the payload of one extension header of type `code`. Raises CorruptLayer."""
        self._count += 1
        if self._count > _MAX_HEADERS:
            raise corrupt(f"cannot read the layer: endless extension headers at {shown(name)!r}")
        self._where = name
        if code == 0x4C:
            self._name = data.partition(b"\0")[0]
        elif code == 0x4B:
            self._link = data.partition(b"\0")[0]
        else:
            # As in Go, a later PAX header replaces an earlier one.
            self._records = tarheader.pax_records(name, data)

    def apply(self, member: Member) -> bool:
        """Change `member`; return whether its data begins with a sparse map (PAX format 1.0).

        An empty value means that the record is withdrawn, so the header's field counts.
        Raises CorruptLayer.
        """
        last = dict(self._records)
        member.atime = tarheader.MIN_TIME
        for key, value in last.items():
            if key.startswith(_XATTR):
                if member.xattrs is None:
                    member.xattrs = {}
                member.xattrs[key[len(_XATTR) :]] = value
            elif value:
                self._apply_record(member, key, value)
        # Never before the modification: as Go's readers of layers have it.
        member.atime = max(member.atime, member.mtime)
        if self._name:
            member.name = self._name
        if self._link:
            member.link = self._link
        return self._apply_sparse(member, last)

    def _apply_record(self, member: Member, key: bytes, value: bytes) -> None:
        where = self._where
        if key == b"path":
            member.name = value
        elif key == b"linkpath":
            member.link = value
        elif key == b"size":
            size = tarheader.pax_number(where, key, value, tarheader.MAX_SIZE)
            member.size = member.real_size = size
        elif key == b"uid":
            member.uid = tarheader.pax_number(where, key, value, tarheader.MAX_ID)
        elif key == b"gid":
            member.gid = tarheader.pax_number(where, key, value, tarheader.MAX_ID)
        elif key == b"mtime":
            member.mtime = tarheader.pax_time(where, value)
        elif key == b"atime":
            member.atime = tarheader.pax_time(where, value)

    def _apply_sparse(self, member: Member, last: dict[bytes, bytes]) -> bool:
        if not any(key.startswith(b"GNU.sparse.") for key in last):
            return False
        where = self._where
        member.name = last.get(b"GNU.sparse.name", member.name)
        real = last.get(b"GNU.sparse.realsize", last.get(b"GNU.sparse.size"))
        if real is not None:
            member.real_size = tarheader.pax_number(where, b"size", real, tarheader.MAX_SIZE)
        version = last.get(b"GNU.sparse.major"), last.get(b"GNU.sparse.minor")
        if version == (b"1", b"0"):
            return True
        regions = tarsparse.pax_map(where, self._records)
        if regions is not None:
            member.sparse = tarsparse.check(where, regions, member.real_size, member.size)
        return False
