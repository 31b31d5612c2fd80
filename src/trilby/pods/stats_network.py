"""What went over a pod's network interfaces, as the kernel counts it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from trilby.pods.model_status import InterfaceStats
from trilby.system.errors import HostError
from trilby.system.files import read_file
from trilby.system.namespaces import in_netns

# Columns of /proc/<pid>/net/dev after the name: eight for receiving, eight for sending.
_COLUMNS = 16


def pod_interfaces(pin: str, pids: Iterable[int]) -> tuple[InterfaceStats, ...]:
    """The interfaces of the network namespace pinned at ``pin``; empty for the host's own.

    The counters are read through a process of the pod, which costs nothing; one that has left the
    namespace does not count. Without any, a thread enters the namespace.
    """
    try:
        wanted = os.stat(pin)
    except OSError:
        return ()
    for pid in pids:
        try:
            found = os.stat(f"/proc/{pid}/ns/net")
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return parse_net_dev(_read(f"/proc/{pid}/net/dev"))
        except OSError:
            continue  # it has just ended
    try:
        return parse_net_dev(in_netns(pin, lambda: _read("/proc/thread-self/net/dev")))
    except (OSError, HostError):
        return ()  # it was unpinned just now


def _read(path: str) -> str:
    return read_file(path).decode("ascii", errors="replace")


def parse_net_dev(text: str) -> tuple[InterfaceStats, ...]:
    """The interfaces of /proc/<pid>/net/dev but for loopback, eth0 first."""
    found = []
    for line in text.splitlines()[2:]:
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if not colon or name.strip() == "lo" or len(fields) < _COLUMNS:
            continue
        found.append(
            InterfaceStats(
                name=name.strip(),
                rx_bytes=int(fields[0]),
                rx_packets=int(fields[1]),
                rx_errors=int(fields[2]),
                rx_dropped=int(fields[3]),
                tx_bytes=int(fields[8]),
                tx_packets=int(fields[9]),
                tx_errors=int(fields[10]),
                tx_dropped=int(fields[11]),
            )
        )
    return tuple(sorted(found, key=lambda one: (one.name != "eth0", one.name)))
