"""One unpacking from stream to totals, in whatever process or thread it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from trilby.storage.decompress import open_stream
from trilby.storage.tarsplit import JournalWriter
from trilby.storage.unpack_attributes import Attributes, Ranges
from trilby.storage.unpack_layer import LayerUnpacker
from trilby.storage.unpack_tree import Tree

OPAQUE = {"overlay": "trusted.overlay.opaque", "overlay-user": "user.overlay.opaque"}


class Job:
    """What to unpack and how; see trilby.storage.unpack.unpack for the meanings."""

    __slots__ = (
        "ahead",
        "compressed_digest",
        "compression",
        "gids",
        "ignore_chown_errors",
        "root",
        "tar_split",
        "uids",
        "umask",
        "whiteouts",
    )

    def __init__(
        self,
        root: int,
        whiteouts: str,
        tar_split: str,
        compression: str,
        uids: Ranges,
        gids: Ranges,
        *,
        ignore_chown_errors: bool,
        compressed_digest: bool,
        umask: int,
        ahead: bool,
    ) -> None:
        self.root = root
        self.whiteouts = whiteouts
        self.tar_split = tar_split
        self.compression = compression
        self.uids = uids
        self.gids = gids
        self.ignore_chown_errors = ignore_chown_errors
        self.compressed_digest = compressed_digest
        self.umask = umask
        self.ahead = ahead


class Totals:
    """What came out; the fields are those of trilby.storage.unpack.Unpacked."""

    __slots__ = (
        "compressed_digest",
        "compressed_size",
        "compression",
        "content_size",
        "diff_id",
        "files",
        "gids",
        "size",
        "uids",
    )

    def __init__(self) -> None:
        self.diff_id = self.compressed_digest = self.compression = ""
        self.size = self.compressed_size = self.files = self.content_size = 0
        self.uids: tuple[int, ...] = ()
        self.gids: tuple[int, ...] = ()


class _SourceFailed(Exception):
    """Carries an error of the source past those who would take it for the disk's."""


def run_job(job: Job, read: Callable[[int], bytes]) -> Totals:
    """Unpack the stream that `read` yields; raises what trilby.storage.unpack.unpack does."""

    def guarded_read(size: int) -> bytes:
        try:
            return read(size)
        except Exception as error:
            raise _SourceFailed from error

    try:
        return _run(job, guarded_read)
    except _SourceFailed as failed:
        assert failed.__cause__ is not None
        raise failed.__cause__ from None


def _run(job: Job, read: Callable[[int], bytes]) -> Totals:
    attributes = Attributes(
        job.umask,
        job.uids,
        job.gids,
        ignore_chown_errors=job.ignore_chown_errors,
        exact_modes=job.whiteouts == "remove",
        privileged=job.whiteouts != "overlay-user",
    )
    tree = Tree(job.root, attributes.implied_owner(), OPAQUE.get(job.whiteouts))
    journal_fd = -1
    try:
        journal = None
        if job.tar_split:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            journal_fd = os.open(job.tar_split, flags, 0o600)
            journal = JournalWriter(journal_fd)
        stream = open_stream(read, job.compression or None, compressed_digest=job.compressed_digest)
        unpacker = LayerUnpacker(tree, attributes, journal)
        blocks = _read_ahead(stream.blocks()) if job.ahead else stream.blocks()
        unpacker.run(blocks)
        if journal is not None:
            journal.close()
        if tree.graves:
            from trilby.storage.tarsplit_rewrite import keep_lost_contents

            keep_lost_contents(job.tar_split, tree.graves)
    finally:
        if journal_fd >= 0:
            os.close(journal_fd)
        tree.close()
    totals = Totals()
    totals.diff_id = stream.diff_id()
    totals.size = stream.size
    totals.compressed_digest = stream.compressed_digest()
    totals.compressed_size = stream.compressed_size
    totals.compression = stream.compression
    totals.files = unpacker.files
    totals.content_size = unpacker.content_size
    totals.uids = tuple(sorted(unpacker.uids))
    totals.gids = tuple(sorted(unpacker.gids))
    return totals


_DEPTH = 8  # blocks decoded ahead of the unpacking


def _read_ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield `blocks`, made by a thread of their own: decoding and hashing hold no lock.

    Whatever the blocks raise is raised here. At the end, or when the caller gives up, the thread
    has come to its end too.
    """
    from _queue import SimpleQueue
    from _thread import start_new_thread

    filled: SimpleQueue[bytes | BaseException] = SimpleQueue()
    room: SimpleQueue[bool] = SimpleQueue()
    for _ in range(_DEPTH):
        room.put(True)

    def produce() -> None:
        try:
            for block in blocks:
                if not room.get():
                    break
                filled.put(block)
            filled.put(b"")
        except BaseException as error:
            filled.put(error)

    start_new_thread(produce, ())
    ended = False
    try:
        while True:
            block = filled.get()
            if not isinstance(block, bytes):
                ended = True
                raise block
            if not block:
                ended = True
                return
            yield block
            room.put(True)
    finally:
        while not ended:
            room.put(False)
            block = filled.get()
            ended = not block or not isinstance(block, bytes)
