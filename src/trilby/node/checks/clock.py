"""Checks of time: the clock, who keeps it, and how the last boots ended."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING, Final

from trilby.node.model import Check, Seen, failed, passed, skipped, warned
from trilby.node.processes import unit

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS", "ends"]

GROUP: Final = "time"
KEEPERS: Final = ("chronyd.service", "systemd-timesyncd.service", "ntpd.service", "ntpsec.service")
#: Files that are as new as the last update of the host, or of this program.
NEWEST: Final = ("/usr/lib/os-release", "/etc/machine-id", "/var/lib/systemd/timesync/clock")
WTMP: Final = "/var/log/wtmp"
PSTORE: Final = ("/var/lib/systemd/pstore", "/sys/fs/pstore")
MOST_ERROR: Final = 1.0
RECENT: Final = 7 * 86400

# struct utmp of 64-bit x86 and others with 32-bit times in it; utmp(5).
_RECORD: Final = struct.Struct("=h2xi32s4s32s256shhiii16s20s")
_RUN_LEVEL: Final = 1
_BOOT: Final = 2
_WTMP_LIMIT: Final = 1 << 20


def _synchronised(node: Node) -> Seen:
    if not node.host.live:
        return skipped("the clock of a host that does not run is not known")
    state = node.host.clock()
    seen = f"adjtimex: at most {state.error:.3g} s wrong"
    if not state.synchronised:
        return warned("adjtimex: nobody keeps the clock (STA_UNSYNC)")
    return passed(seen) if state.error <= MOST_ERROR else warned(seen)


def _keeper(node: Node) -> Seen:
    units = [unit(node.host, name) for name in KEEPERS]
    for each in units:
        if each.active:
            kept = each.enabled or "but not enabled"
            return passed(f"{each.name} runs, {kept}") if each.enabled else warned(
                f"{each.name} runs, {kept}", mend=f"systemctl enable {each.name}"
            )  # fmt: skip
    enabled = [each for each in units if each.enabled]
    if enabled and not node.host.live:
        return passed(f"{enabled[0].enabled}")
    if enabled:
        name = enabled[0].name
        return warned(f"{name} is enabled and does not run", mend=f"systemctl start {name}")
    return warned(f"none of {', '.join(KEEPERS)} is enabled")


def _sane(node: Node) -> Seen:
    now = time.time()
    for path in NEWEST:
        found = node.host.stat(path)
        if found and found.st_mtime > now + 60:
            return failed(
                f"the clock says {_day(now)}, and {path} is of {_day(found.st_mtime)}"
            )  # fmt: skip
    return passed(f"the clock says {_day(now)}")


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def ends(data: bytes) -> list[tuple[float, bool]]:
    """(time of a boot, whether the one before it ended with a shutdown), as wtmp tells; utmp(5).

    The first boot of the file is left out: nothing is known of what was before. Raises ValueError
    for data that are no such records.
    """
    found = []
    clean: bool | None = None
    if len(data) % _RECORD.size:
        raise ValueError("it has no whole number of records of 384 bytes")
    for record in _RECORD.iter_unpack(data):
        kind, user, seconds = int(record[0]), bytes(record[4]).rstrip(b"\0"), int(record[9])
        if not 0 <= kind <= 9:
            raise ValueError(f"there are no records of the kind {kind}")
        if kind == _BOOT:
            if clean is not None:
                found.append((float(seconds), clean))
            clean = False
        elif kind == _RUN_LEVEL and user == b"shutdown":
            clean = True
    return found


def _shutdown(node: Node) -> Seen:
    fd = node.host.open(WTMP)
    if fd is None:
        return skipped(f"{WTMP} is not there")
    with fd:
        size = os.fstat(fd.number).st_size
        begin = max(0, size - _WTMP_LIMIT) // _RECORD.size * _RECORD.size
        data = os.pread(fd.number, _WTMP_LIMIT + _RECORD.size, begin)
    boots = ends(data)
    unclean = [when for when, clean in boots if not clean]
    if not unclean:
        return passed(f"{WTMP}: {len(boots)} boots, each after a shutdown")
    seen = f"{WTMP}: the boot of {_day(unclean[-1])} came without a shutdown before"
    return warned(seen) if unclean[-1] > time.time() - RECENT else passed(seen)


def _crashes(node: Node) -> Seen:
    for folder in PSTORE:
        names = node.host.names(folder)
        if names:
            found = node.host.stat(f"{folder}/{names[-1]}")
            when = f", of {_day(found.st_mtime)}" if found else ""
            return warned(
                f"{folder} has {names[-1]}{when}", mend=f"look at it, then rm -r {folder}/*"
            )
    return passed(f"{' and '.join(PSTORE)} are empty")


CHECKS: Final = (
    Check(
        id="clock-synchronised", group=GROUP, title="Clock is kept", look=_synchronised,
        why="certificates and tokens are valid by the clock; nodes that disagree lose leases",
        mend="systemctl enable --now chronyd && chronyc waitsync 10",
    ),
    Check(
        id="clock-keeper", group=GROUP, title="Who keeps the clock", look=_keeper,
        why="a clock that nobody keeps is seconds off within days",
        mend="dnf install chrony && systemctl enable --now chronyd",
    ),
    Check(
        id="clock-sane", group=GROUP, title="Clock is not in the past", look=_sane,
        why="every certificate is not valid yet then", mend="chronyc makestep",
    ),
    Check(
        id="last-shutdown", group=GROUP, title="How the last boots ended", look=_shutdown,
        why="what was being written then may be damaged: the store is checked by storage-readable",
        mend="journalctl -b -1 -n 50; trilby node check --only storage-readable",
    ),
    Check(
        id="kernel-crashes", group=GROUP, title="Records of crashes", look=_crashes,
        why="a kernel that has crashed will again: kernel.panic only hides it",
    ),
)  # fmt: skip
