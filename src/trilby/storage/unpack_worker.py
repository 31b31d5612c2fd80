"""The process that unpacks layers for another: jobs and layers on stdin, results on stdout.

An interpreter's lock serves one thread at a time, and unpacking many small files is mostly such
work; several of these processes use several cores and leave the caller's lock to its network.

Both pipes carry messages: four bytes of length (big endian) and that many bytes. A job's fields
are parted by NUL. After a job this side answers "ready"; then come the layer's compressed bytes
and an empty message at their end, and this side answers "ok" and the totals, or "error" at any
time. End of input, or none for a while, ends the process.
"""

from __future__ import annotations

import gc
import os
import signal

from trilby.storage.unpack_attributes import Ranges
from trilby.storage.unpack_job import Job, Totals, run_job

IDLE_SECONDS = 10
_INPUT, _OUTPUT = 0, 1


def encode_job(job: Job, root: str) -> bytes:
    """Return the message for a job; `root` is the path of the directory."""
    fields = (
        root,
        job.whiteouts,
        job.tar_split,
        job.compression,
        _ranges_text(job.uids),
        _ranges_text(job.gids),
        "1" if job.ignore_chown_errors else "",
        "1" if job.compressed_digest else "",
        "1" if job.ahead else "",
    )
    return b"\0".join(os.fsencode(field) for field in fields)


def decode_totals(message: bytes) -> Totals:
    """Return the totals of an "ok" message."""
    fields = message.decode().split("\0")[1:]
    totals = Totals()
    totals.diff_id, totals.compressed_digest, totals.compression = fields[:3]
    totals.size, totals.compressed_size, totals.files, totals.content_size = map(int, fields[3:7])
    totals.uids = tuple(int(text) for text in fields[7].split())
    totals.gids = tuple(int(text) for text in fields[8].split())
    return totals


def _encode_totals(totals: Totals) -> bytes:
    fields = (
        "ok",
        totals.diff_id,
        totals.compressed_digest,
        totals.compression,
        totals.size,
        totals.compressed_size,
        totals.files,
        totals.content_size,
        " ".join(map(str, totals.uids)),
        " ".join(map(str, totals.gids)),
    )
    return "\0".join(map(str, fields)).encode()


def _encode_error(error: Exception) -> bytes:
    """Return the message for an error: its class, text, hint, errno and file name."""
    number, name = 0, ""
    text, hint = str(error), ""
    if isinstance(error, OSError):
        number, text = error.errno or 0, error.strerror or text
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    else:
        text = getattr(error, "message", text)
        hint = getattr(error, "hint", "")
        number = getattr(error, "errno", 0)
    fields = ("error", type(error).__name__, text, hint, str(number), name)
    return "\0".join(field.replace("\0", "") for field in fields).encode(errors="backslashreplace")


def _ranges_text(ranges: Ranges) -> str:
    return " ".join(f"{a}:{b}:{c}" for a, b, c in ranges)


def _ranges(text: str) -> tuple[tuple[int, int, int], ...]:
    triples = (part.split(":") for part in text.split())
    return tuple((int(a), int(b), int(c)) for a, b, c in triples)


def _decode_job(message: bytes) -> Job:
    fields = os.fsdecode(message).split("\0")
    return Job(
        os.open(fields[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        fields[1],
        fields[2],
        fields[3],
        _ranges(fields[4]),
        _ranges(fields[5]),
        ignore_chown_errors=bool(fields[6]),
        compressed_digest=bool(fields[7]),
        umask=0,
        ahead=bool(fields[8]),
    )


class _Input:
    """The layer's bytes out of the messages."""

    def __init__(self) -> None:
        self._left = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, b"" after the message that ends the layer, however often."""
        if not self._left:
            if not self._ended:
                self._left = _length()
                self._ended = not self._left
            if self._ended:
                return b""
        chunk = os.read(_INPUT, min(size, self._left))
        if not chunk:
            os._exit(1)  # the caller is gone
        self._left -= len(chunk)
        return chunk


def _length() -> int:
    return int.from_bytes(_exactly(4), "big")


def _exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(_INPUT, size - len(data))
        if not chunk:
            os._exit(0)  # no more jobs, or nobody to do them for
        data += chunk
    return data


def _answer(message: bytes) -> None:
    data = len(message).to_bytes(4, "big") + message
    while data:
        data = data[os.write(_OUTPUT, data) :]


def main() -> None:
    """Do jobs until there are no more, or one fails."""
    os.umask(0)
    gc.disable()  # no cycles in the loop; a layer's many objects would be looked at again and again
    while True:
        signal.alarm(IDLE_SECONDS)  # its default action ends the process
        message = _exactly(_length())
        signal.alarm(0)
        try:
            job = _decode_job(message)
            _answer(b"ready")
            totals = run_job(job, _Input().read)
            os.close(job.root)
        except Exception as error:
            _answer(_encode_error(error))
            os._exit(1)
        _answer(_encode_totals(totals))
        gc.collect()


if __name__ == "__main__":
    main()
