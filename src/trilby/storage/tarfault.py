"""Make the errors of reading and unpacking archives; imports their classes only when needed."""

from __future__ import annotations

import errno

# The archive asked for what no file system does: the layer is at fault, not the disk.
_ARCHIVE_FAULTS = frozenset(
    (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.EISDIR, errno.ENOENT)
)
_HINTS = {
    errno.ENOSPC: "free some space, or remove images that nobody uses",
    errno.EDQUOT: "raise the quota, or remove images that nobody uses",
    errno.EPERM: "unpacking owners and devices needs root, or a mapping of user ids",
}


def shown(name: bytes) -> str:
    """Return an entry's name for a message: printable whatever it holds, and not endless."""
    text = name[:200].decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return f"{text}…" if len(name) > 200 else text


def corrupt(message: str) -> Exception:
    """Return a CorruptLayer to raise."""
    from trilby.storage.tarerrors import CorruptLayer

    return CorruptLayer(message)


def unsafe(message: str) -> Exception:
    """Return an UnsafeLayer to raise."""
    from trilby.storage.tarerrors import UnsafeLayer

    return UnsafeLayer(message)


def entry_failed(name: bytes, error: OSError) -> Exception:
    """Return the error to raise when the disk refused the entry `name`."""
    number = error.errno or 0
    message = f"cannot unpack {shown(name)!r} of the layer: {error.strerror or error}"
    if number in _ARCHIVE_FAULTS:
        return corrupt(message)
    from trilby.storage.tarerrors import LayerWriteError

    return LayerWriteError(message, errno=number, hint=_HINTS.get(number, ""))
