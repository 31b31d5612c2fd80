"""How long certificates are still valid; the checks of kubelet and daemon share it."""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING, Final

from trilby.node.model import Seen, failed, passed, warned
from trilby.system.certificates import certificate_dates

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["SOON", "dates", "dates_of", "key_rights"]

SOON: Final = 14 * 86400


def dates(node: Node, path: str, renew: str) -> Seen:
    """Whether the first certificate of a file is valid now, and will be for two weeks."""
    text = node.host.read(path)
    if text is None:
        return failed(f"{path} is not there", mend=renew)
    return dates_of(text, path, renew)


def dates_of(text: str, path: str, renew: str) -> Seen:
    """The same of PEM that was found at ``path``."""
    try:
        begin, end = certificate_dates(text)
    except ValueError as error:
        return failed(f"{path}: {error}", mend=renew)
    now = time.time()
    if now < begin:
        return failed(
            f"{path} is not valid before {_day(begin)}", mend="look at the clock: chronyc tracking"
        )
    if now > end:
        return failed(f"{path} expired on {_day(end)}", mend=renew)
    seen = f"{path} is valid until {_day(end)}"
    return passed(seen) if now < end - SOON else warned(seen, mend=renew)


def key_rights(node: Node, path: str) -> Seen:
    """Whether nobody but its owner reads a key."""
    found = node.host.stat(path)
    if found is None:
        return failed(f"{path} is not there", mend="put the key of the certificate there")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return warned(f"{path} has mode {mode:04o}", mend=f"chmod 600 {path}")
    return passed(f"{path} has mode {mode:04o}")


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
