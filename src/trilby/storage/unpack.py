"""Unpack one layer: compressed stream in, directory tree, digests and tar-split journal out."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # whoever only names the results need not load what does the work
    from trilby.storage.unpack_job import Job, Totals

_WORKER_FROM = 1 << 20  # compressed bytes from which a layer is worth a process


class Owners(msgspec.Struct, frozen=True):
    """How ids of the archive become ids on disk: (container, host, length) ranges.

    Empty ranges mean identity. ``ignore_chown_errors`` keeps our own id where chown is refused.
    """

    uids: tuple[tuple[int, int, int], ...] = ()
    gids: tuple[tuple[int, int, int], ...] = ()
    ignore_chown_errors: bool = False


class Unpacked(msgspec.Struct, frozen=True):
    """What one layer turned out to be.

    ``diff_id`` and ``compressed_digest`` are "sha256:<hex>"; sizes are bytes of either side of the
    decompression; ``compression`` is none, gzip, zstd, bzip2 or xz; ``uids``/``gids`` are the
    sorted ids the archive used; ``files`` counts members; ``content_size`` their data's bytes.
    """

    diff_id: str
    size: int
    compressed_digest: str
    compressed_size: int
    compression: str
    files: int
    content_size: int
    uids: tuple[int, ...]
    gids: tuple[int, ...]


def unpack(
    read: Callable[[int], bytes],
    root: str | int,
    *,
    whiteouts: str = "overlay",
    tar_split: str | None = None,
    compression: str | None = None,
    owners: Owners | None = None,
    size_hint: int | None = None,
    where: str = "auto",
    compressed_digest: bool = True,
) -> Unpacked:
    """Unpack the layer that `read` yields (b"" at its end) into the directory `root`.

    `root` is a path or an O_DIRECTORY descriptor; it exists already. `whiteouts` is "overlay"
    (0:0 devices and trusted.overlay.opaque), "overlay-user" (user.overlay.opaque, no device nodes)
    or "remove" (delete from the tree, as vfs does). `tar_split` is the path of the journal
    ``<id>.tar-split.gz`` to write (created 0600, truncated; not synced). `compression` None sniffs.
    `size_hint` is the compressed size in bytes if known. `where` is "thread" (in the calling
    thread), "worker" (a process of its own, so that several layers do not share one
    interpreter lock) or "auto", which decides by `size_hint`. `compressed_digest` False saves
    hashing the compressed side, if the caller does it anyway.

    Safe in any thread and for several layers at once. Raises CorruptLayer, UnsafeLayer,
    LayerWriteError, OSError; what `read` raises passes through. After an error the tree is partly
    written: remove it.
    """
    from trilby.storage.unpack_job import Job, run_job

    owners = owners or Owners()
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY) if isinstance(root, str) else root
    try:
        job = Job(
            root_fd,
            whiteouts,
            os.path.abspath(tar_split) if tar_split else "",
            compression or "",
            owners.uids,
            owners.gids,
            ignore_chown_errors=owners.ignore_chown_errors,
            compressed_digest=compressed_digest,
            umask=_umask(),
            ahead=False,
        )
        if where == "auto":
            read, large = _sized(read, size_hint)
            where = "worker" if large else "thread"
        return _unpacked(run_job(job, read) if where == "thread" else _in_worker(job, read))
    finally:
        if isinstance(root, str):
            os.close(root_fd)


def warm_up(layers: int) -> None:
    """Start the workers for so many layers ahead, while the caller waits for the network."""
    from trilby.storage.unpack_pool import pool

    pool.warm_up(layers)


def _sized(
    read: Callable[[int], bytes], size_hint: int | None
) -> tuple[Callable[[int], bytes], bool]:
    """Return the source and whether it is worth a worker; reads its head if nobody knows."""
    if size_hint is not None:
        return read, size_hint >= _WORKER_FROM
    head: list[bytes] = []
    size = 0
    while size < _WORKER_FROM and (chunk := read(_WORKER_FROM - size)):
        head.append(chunk)
        size += len(chunk)
    head.reverse()

    def read_on(wanted: int) -> bytes:
        if not head:
            return read(wanted)
        chunk = head.pop()
        if len(chunk) > wanted:
            head.append(chunk[wanted:])
        return chunk[:wanted]

    return read_on, size >= _WORKER_FROM


def _in_worker(job: Job, read: Callable[[int], bytes]) -> Totals:
    """Unpack in a worker; here if all of them are busy and stay so."""
    from trilby.storage.unpack_job import run_job
    from trilby.storage.unpack_pool import pool

    job.ahead = True
    return pool.unpack(job, read) or run_job(job, read)


def _umask() -> int:
    """Return the process's umask; asking umask(2) would change it for the other threads."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line[6:], 8)
    return 0o777


def _unpacked(totals: Totals) -> Unpacked:
    return Unpacked(
        diff_id=totals.diff_id,
        size=totals.size,
        compressed_digest=totals.compressed_digest,
        compressed_size=totals.compressed_size,
        compression=totals.compression,
        files=totals.files,
        content_size=totals.content_size,
        uids=totals.uids,
        gids=totals.gids,
    )
