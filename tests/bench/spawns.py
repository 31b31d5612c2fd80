"""Which processes lived when: the kernel's process events (connector, CN_PROC), with names.

As a program it listens and prints; SpawnLog starts it beside what is measured, so that listening
takes no time from the measured process itself. Times are those of the kernel's monotonic clock,
which is ``time.monotonic()``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys

CN_IDX_PROC = 1
LISTEN, IGNORE = 1, 2
FORK, EXEC, EXIT = 1, 2, 0x80000000
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_CONNECTOR = struct.Struct("=IIIIHH")  # cn_msg
_EVENT = struct.Struct("=IIQ")  # what, cpu, timestamp


class Life:
    """What a process was while: a program's name (its command's first words), from, to."""

    __slots__ = ("end", "name", "parent", "pid", "start")

    def __init__(self, name: str, pid: int, parent: str, start: float, end: float) -> None:
        self.name, self.pid, self.parent = name, pid, parent
        self.start, self.end = start, end


class SpawnLog:
    """Descendants of a process while the context lasts; ``lives`` afterwards. 0 is this process.

    Without the privilege, or in a kernel without process events, ``lives`` stays empty.
    """

    def __init__(self, root: int = 0) -> None:
        self.lives: list[Life] = []
        self._root = root or os.getpid()

    def __enter__(self) -> SpawnLog:
        self._listener = subprocess.Popen(
            [sys.executable, __file__, str(self._root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._listener.stdout is not None
        self._listener.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.terminate()
        assert self._listener.stdout is not None
        for line in self._listener.stdout:
            self.lives.append(Life(**json.loads(line)))
        self._listener.wait()


class _Follower:
    """Turns events into lives of the descendants of ``root``."""

    def __init__(self, root: int) -> None:
        self.names = {root: "bench"}
        self.since = {root: 0.0}
        self.parents = {root: ""}
        self.done: list[dict[str, object]] = []

    def fork(self, parent: int, child: int, when: float) -> None:
        if parent in self.names and child != os.getpid():
            self.names[child], self.since[child] = self.names[parent], when
            self.parents[child] = self.names[parent]

    def exec(self, pid: int, when: float) -> None:
        if pid in self.names:
            before = self.names[pid]
            self._close(pid, when)
            self.names[pid] = _name(pid) or f"{before} (gone)"
            self.since[pid] = when

    def exit(self, pid: int, when: float) -> None:
        if pid in self.names:
            self._close(pid, when)
            del self.names[pid], self.since[pid], self.parents[pid]

    def _close(self, pid: int, when: float) -> None:
        life = {"name": self.names[pid], "pid": pid, "parent": self.parents[pid]}
        self.done.append(life | {"start": self.since[pid], "end": when})

    def finish(self, when: float) -> None:
        for pid in list(self.names):
            self.exit(pid, when)


def _name(pid: int) -> str:
    """Program and verb, such as ``runc create``; empty when it is gone already."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).decode(errors="replace").split("\0")
    except OSError:
        return ""
    program = os.path.basename(words[0])
    verbs = ("create", "start", "exec", "delete", "kill", "init", "state")
    verb = next((word for word in words[1:] if word in verbs), "") if program == "runc" else ""
    return f"{program} {verb}".strip()


def listen(root: int) -> None:
    """Until SIGTERM: then print one JSON object per life."""
    connection = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11)  # NETLINK_CONNECTOR
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    connection.bind((0, CN_IDX_PROC))
    message = _CONNECTOR.pack(CN_IDX_PROC, 1, 0, 0, 4, 0) + struct.pack("=I", LISTEN)
    size = _HEADER.size + len(message)
    connection.send(_HEADER.pack(size, 3, 0, 0, os.getpid()) + message)
    print("ready", flush=True)
    follower = _Follower(root)
    when = 0.0

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        while True:
            data = connection.recv(4096)
            at = _HEADER.size + _CONNECTOR.size
            what, _, stamp = _EVENT.unpack_from(data, at)
            when = stamp / 1e9
            fields = struct.unpack_from("=4I", data, at + _EVENT.size)
            if what == FORK and fields[2] == fields[3]:
                follower.fork(fields[1], fields[3], when)
            elif what == EXEC:
                follower.exec(fields[1], when)
            elif what == EXIT and fields[0] == fields[1]:
                follower.exit(fields[1], when)
    except KeyboardInterrupt:
        follower.finish(when)
    for life in follower.done:
        print(json.dumps(life))


if __name__ == "__main__":
    listen(int(sys.argv[1]))
