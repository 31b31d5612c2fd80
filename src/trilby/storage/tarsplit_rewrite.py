"""Move file contents that the tree lost into the journal itself.

A layer may hold a name twice; the tree keeps the later file only, yet the archive has both.
"""

from __future__ import annotations

import os

from trilby.storage.tarsplit import JournalWriter
from trilby.storage.tarsplit_read import SEGMENT, read_journal
from trilby.storage.unpack_tree import clean

_CHUNK = 1 << 20


def keep_lost_contents(path: str, contents: dict[bytes, int]) -> None:
    """Rewrite the journal at `path`: files in `contents` (path -> fd) become raw segments."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        writer = JournalWriter(fd)
        for entry in read_journal(path):
            if entry.type == SEGMENT:
                writer.segment(entry.data())
                continue
            name = entry.path()
            content = contents.get(clean(name)) if entry.size else None
            if content is None:
                writer.file(b"", name, entry.size, int.from_bytes(entry.data(), "big"))
                continue
            writer.file(b"", name, 0, 0)
            offset = 0
            while offset < entry.size:
                piece = os.pread(content, _CHUNK, offset)
                if not piece:
                    raise OSError(5, "a replaced file of the layer became shorter", path)
                writer.segment(piece)
                offset += len(piece)
        writer.close()
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    finally:
        os.close(fd)
