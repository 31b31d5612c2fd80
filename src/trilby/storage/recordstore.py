"""Records under a lock file: cached, reloaded when another process wrote, changed as a whole.

Lock files, last-writer tokens and their order: containers/storage. A writer puts its token into
the lock file before it replaces the JSON, so that a crash between makes others reload once too
often rather than once too rarely.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic

from trilby.storage.recordfile import R, RecordFile, Stamp
from trilby.system.locks import RecordLock

_HEX = frozenset("0123456789abcdef")
# Fewer digits than this are more likely a mistake than an ID.
_SHORTEST_PREFIX = 3


class Snapshot(Generic[R]):
    """All records at one moment; never changed, so threads may share it."""

    def __init__(self, records: Iterable[R], volatile: frozenset[str] = frozenset()) -> None:
        self.by_id: dict[str, R] = {}
        for record in records:
            # The same ID in a second file: the first one counts.
            self.by_id.setdefault(record.id, record)
        self.volatile = volatile
        self._by_name: dict[str, R] | None = None

    @property
    def records(self) -> list[R]:
        """All of them, in file order."""
        return list(self.by_id.values())

    @property
    def by_name(self) -> dict[str, R]:
        """Records by each of their names."""
        if self._by_name is None:
            # Two records with one name: the later one keeps it.
            self._by_name = {name: record for record in self.records for name in record.names}
        return self._by_name

    def find(self, ref: str) -> R | None:
        """The record of this ID, name, or prefix of exactly one ID."""
        found = self.by_id.get(ref) or self.by_name.get(ref)
        if found is None and len(ref) >= _SHORTEST_PREFIX and _HEX.issuperset(ref):
            matches = [
                record for identity, record in self.by_id.items() if identity.startswith(ref)
            ]
            if len(matches) == 1:
                return matches[0]
        return found

    def with_record(self, record: R, *, volatile: bool | None = None) -> Snapshot[R]:
        """This with the record added, or in place of the one with its ID."""
        records = {**self.by_id, record.id: record}
        names = self.volatile
        if volatile is not None:
            names = names | {record.id} if volatile else names - {record.id}
        return Snapshot(records.values(), names)

    def without(self, identities: Iterable[str]) -> Snapshot[R]:
        """This less some records."""
        gone = frozenset(identities)
        kept = [record for record in self.by_id.values() if record.id not in gone]
        return Snapshot(kept, self.volatile - gone)


class RecordStore(Generic[R]):
    """One kind of records of one store: a stable file, perhaps a volatile one, and their lock."""

    def __init__(
        self,
        lock_path: str,
        stable: RecordFile[R],
        volatile: RecordFile[R] | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        self.read_only = read_only
        self._lock = RecordLock(lock_path, read_only=read_only)
        self._stable = stable
        self._volatile = volatile
        self._guard = threading.Lock()
        self._token: bytes | None = None
        self._stamps: tuple[Stamp, ...] = ()
        self._snapshot: Snapshot[R] = Snapshot(())

    @contextmanager
    def reading(self) -> Iterator[Snapshot[R]]:
        """Hold the lock with other readers; gives what is on disk."""
        with self._lock.shared():
            yield self._current()

    @contextmanager
    def writing(self) -> Iterator[Snapshot[R]]:
        """Hold the lock alone; gives what is on disk, to be changed through ``save``."""
        with self._lock.exclusive():
            yield self._current()

    def snapshot(self) -> Snapshot[R]:
        """What is on disk now; the lock is held only to look."""
        with self.reading() as snapshot:
            return snapshot

    def save(self, snapshot: Snapshot[R]) -> Snapshot[R]:
        """Write what changed since the last load or save; only within ``writing``."""
        with self._guard:
            stable, volatile = _split(snapshot)
            old_stable, old_volatile = _split(self._snapshot)
            self._token = self._lock.write_token()
            # A failed write leaves memory and disk apart: the empty stamps make the next user load.
            self._stamps = ()
            if volatile != old_volatile and self._volatile is not None:
                self._volatile.save(volatile)
            if stable != old_stable or self._volatile is None:
                self._stable.save(stable)
            self._snapshot = snapshot
            self._stamps = self._stamp()
        return snapshot

    def _current(self) -> Snapshot[R]:
        with self._guard:
            token = self._lock.token()
            stamps = self._stamp()
            if self._stamps != stamps or self._token != token or not stamps:
                stable = self._stable.load()
                volatile = self._volatile.load() if self._volatile is not None else []
                stable_ids = {record.id for record in stable}
                names = frozenset(one.id for one in volatile if one.id not in stable_ids)
                self._snapshot = Snapshot([*stable, *volatile], names)
                self._token, self._stamps = token, stamps
            return self._snapshot

    def _stamp(self) -> tuple[Stamp, ...]:
        if self._volatile is None:
            return (self._stable.stamp(),)
        return (self._stable.stamp(), self._volatile.stamp())


def _split(snapshot: Snapshot[R]) -> tuple[list[R], list[R]]:
    """The records of the stable file and of the volatile one."""
    if not snapshot.volatile:
        return snapshot.records, []
    stable: list[R] = []
    volatile: list[R] = []
    for record in snapshot.records:
        (volatile if record.id in snapshot.volatile else stable).append(record)
    return stable, volatile
