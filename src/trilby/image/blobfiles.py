"""Blobs and documents as files: what the transports that write directories and archives share."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

from trilby.image.copy_errors import OversizedDocument, WriteFailed
from trilby.image.errors import BlobUnknown, DigestMismatch
from trilby.image.streams import FileStream
from trilby.oci.digest import Digest, hasher
from trilby.system.errors import HostError
from trilby.system.files import read_bytes_limited, write_all

if TYPE_CHECKING:
    from trilby.image.transport import BlobStream
    from trilby.oci.descriptor import Descriptor

#: Chunks are gathered to about this size before a thread writes them, in bytes.
BATCH = 1 << 20


async def write_stream(stream: BlobStream, fd: int, what: str) -> tuple[Digest, int]:
    """Write the whole stream to a descriptor; its SHA-256 and length. Raises WriteFailed."""
    state = hasher()
    size = 0
    batch: list[bytes] = []
    held = 0

    def flush(data: bytes) -> None:
        state.update(data)
        try:
            write_all(fd, data)
        except OSError as error:
            raise write_failed(what, error) from error

    async for chunk in stream:
        batch.append(chunk)
        held += len(chunk)
        if held >= BATCH:
            size += held
            await asyncio.to_thread(flush, b"".join(batch))
            batch, held = [], 0
    if batch:
        size += held
        await asyncio.to_thread(flush, b"".join(batch))
    return Digest.from_hasher(state), size


async def write_blob_file(
    folder: str, stream: BlobStream, descriptor: Descriptor, what: str, *, known: bool
) -> tuple[Digest, int, str]:
    """Write a blob to a new file in ``folder``: its digest, length and the file's path.

    A descriptor that is known (see BlobRole) decides the digest, which may not be SHA-256: the
    engine has checked it on the way. On failure the file is gone. Raises WriteFailed.
    """
    path = os.path.join(folder, f".blob-{os.urandom(8).hex()}")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise write_failed(what, error) from error
    try:
        try:
            digest, size = await write_stream(stream, fd, what)
        finally:
            os.close(fd)
    except BaseException:
        os.unlink(path)
        raise
    return (descriptor.digest if known else digest), size, path


def open_blob_file(path: str, descriptor: Descriptor, what: str) -> FileStream:
    """Raises BlobUnknown."""
    try:
        return FileStream.open(path)
    except OSError as error:
        raise BlobUnknown(
            f"reading blob {descriptor.digest} of {what}: {error.strerror}",
            hint="the image is incomplete; copy it again",
        ) from error


def read_document(path: str, limit: int, what: str) -> bytes:
    """A small file's content. Raises OversizedDocument, and OSError as it is."""
    try:
        return read_bytes_limited(path, limit)
    except HostError:
        raise OversizedDocument(
            f"reading {what}: it is longer than the limit of {limit} bytes"
        ) from None


def check_document(raw: bytes, digest: Digest, what: str) -> None:
    """Raises DigestMismatch if the bytes are others than the digest says."""
    if not digest.matches(raw):
        raise DigestMismatch(
            f"reading {what}: it should have the digest {digest} and has {Digest.of(raw)}",
            hint="the files have been changed or damaged; copy the image again",
        )


def write_failed(what: str, error: OSError) -> WriteFailed:
    """The error of a destination that cannot be written, with what to do about it."""
    hints = {
        errno.ENOSPC: "free some space, or write somewhere else",
        errno.EDQUOT: "the quota is used up: free some space, or write somewhere else",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "the directory is not writable for this user",
    }
    return WriteFailed(f"writing {what}: {error.strerror}", hint=hints.get(error.errno or 0, ""))
