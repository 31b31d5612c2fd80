"""Fails a test that leaves anything of its own behind; what other runs do meanwhile is not seen.

Use by a conftest.py that imports ``nothing_left_behind``, with a fixture ``place``
(tests.support.pods): all that is looked for carries the place's directory, tag or subnet.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.pods import Place

from trilby.storage.unpack_pool import pool
from trilby.system.mount_table import list_mounts

# Files that stay by design: directories of the engine itself, logs of the runtime, CNI's data.
EMPTY_AT_THE_END = (
    "r/p r/c r/exits r/locks r/x r/runtime/runc r/runtime/crun rootfs"
    " s/trilby/names s/trilby/sandboxes"
).split()
KEPT = {"busybox"}
# Seconds. The kernel takes links of a network that nobody is in down when it comes to it.
PATIENCE = 5.0


def leftovers(place: Place, children_before: set[int]) -> list[str]:
    """What is still there of a place, one line each."""
    return [
        *(f"mount {mount.target}" for mount in list_mounts(under=str(place.root))),
        *(f"cgroup {path}" for path in _cgroups(place)),
        *_processes(place, children_before),
        *_network(place),
        *_files(place),
    ]


@pytest.fixture
def nothing_left_behind(place: Place) -> Iterator[None]:
    """Everything that the test made in its place has to be gone at its end."""
    before = _children()
    yield
    pool.close()  # helpers of the store's, which end by themselves a while later
    deadline = time.monotonic() + PATIENCE
    while found := leftovers(place, before):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert not found, "left behind:\n" + "\n".join(found)


def _cgroups(place: Place) -> Iterator[str]:
    tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    for top in tops:
        if (top / place.cgroup_parent.strip("/")).is_dir():
            yield str(top / place.cgroup_parent.strip("/"))


def _processes(place: Place, children_before: set[int]) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(place.root) in arguments:
            yield f"process {entry.name}: {arguments}"
    for pid in _children() - children_before:
        try:
            yield f"child {pid}: {Path(f'/proc/{pid}/stat').read_text()[:60]}"
        except OSError:
            continue


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= set(map(int, (task / "children").read_text().split()))
        except OSError:
            continue
    return found


def _network(place: Place) -> Iterator[str]:
    ports = Path(f"/sys/class/net/{place.bridge}/brif")
    if ports.is_dir():
        yield from (f"link {port.name} on {place.bridge}" for port in ports.iterdir())
    marks = (place.bridge, place.subnet.removesuffix("0/24"))
    for command in (["iptables-save"], ["nft", "list", "ruleset"]):
        try:
            rules = subprocess.run(command, capture_output=True, text=True).stdout
        except FileNotFoundError:
            continue
        for line in rules.splitlines():
            # The network's own rule is for all pods and stays, like its bridge.
            if "masquerade" in line.lower():
                continue
            if any(mark in line for mark in marks):
                yield f"{command[0]}: {line.strip()}"
    for addresses in (place.root / "ipam", place.root / "cni" / "networks"):
        if addresses.is_dir():
            for path in addresses.rglob("10.*"):
                yield f"address {path.name} is still given away"


def _files(place: Place) -> Iterator[str]:
    for name in EMPTY_AT_THE_END:
        folder = place.root / name
        if folder.is_dir():
            yield from (str(path) for path in folder.iterdir() if path.name not in KEPT)
