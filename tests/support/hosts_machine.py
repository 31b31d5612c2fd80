"""What a virtual machine boots: Debian's newest kernel, and a disk with the newest stand-in.

The disk is an ext4 of the stand-in for Rawhide with nothing held back, and the kernel's modules; it
is made once. The first root file system, in memory, is made for each host: ``machine-init`` beside
this file loads the drivers of the disk and the network, and puts the host's own files on the disk.
"""

from __future__ import annotations

import inspect
import lzma
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.hosts_packages import root_for_ansible
from tests.support.pods import BUSYBOX
from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_definition import definition
from tests.support.standin_tree import debian_mirror, unpack

__all__ = ["DISK", "KERNEL", "first_root", "machine"]

KERNEL_PACKAGE = "linux-image-cloud-amd64"
KERNEL, DISK = "vmlinuz", "disk"
DISK_SIZE = "16G"
#: What the kernel has as modules and needs before there is a disk, in this order.
DRIVERS = ("virtio_blk", "failover", "net_failover", "virtio_net")
INIT = Path(__file__).with_name("machine-init")
FOLDERS = ("dev", "proc", "sys", "root", "bin", "modules")


def machine() -> Path:
    """A folder with the kernel and the disk, made now if it is not there."""
    root, kernel = root_for_ansible(newest=True), _kernel()
    mark = fingerprint(str(root), str(kernel), DISK_SIZE, inspect.getsource(_make))
    return made_once("machine", mark, lambda folder: _make(folder, root, kernel))


def _kernel() -> Path:
    """The kernel's package, unpacked: no part of the stand-in, as no package asks for it."""
    suite = definition().suite

    def make(folder: Path) -> None:
        say(f"unpacking {KERNEL_PACKAGE}")
        unpack(folder / "tree", folder / "log", suite, (KERNEL_PACKAGE,))

    path = made_once("kernel", fingerprint(suite, KERNEL_PACKAGE, debian_mirror()), make)
    (modules,) = (path / "tree/usr/lib/modules").iterdir()
    return modules


def _make(folder: Path, root: Path, kernel: Path) -> None:
    say("a disk for virtual machines")
    shutil.copy(kernel / "vmlinuz", folder / KERNEL)
    work = folder / "work"
    # Links, not copies; nothing that is there is changed.
    subprocess.run(["cp", "-al", root, work], check=True)
    inside = work / "usr/lib/modules" / kernel.name
    shutil.copytree(kernel, inside, ignore=shutil.ignore_patterns("vmlinuz", "System.map"))
    for path in inside.rglob("*.ko.xz"):
        # Unpacked once here, and not by an emulated processor.
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()
    subprocess.run(["chroot", work, "/usr/bin/depmod", kernel.name], check=True)
    subprocess.run(
        ["mkfs.ext4", "-q", "-d", work, "-E", "lazy_itable_init=1", folder / DISK, DISK_SIZE],
        check=True,
    )
    shutil.rmtree(work)


def first_root(files: Path, work: Path) -> bytes:
    """The first root file system as the kernel takes it; ``work`` is a folder to make it in.

    ``files`` are a host's own, and are moved.
    """
    for name in FOLDERS:
        (work / name).mkdir(parents=True)
    files.rename(work / "host")
    shutil.copy(BUSYBOX, work / "bin/busybox")
    (work / "bin/sh").symlink_to("busybox")
    shutil.copy(INIT, work / "init")
    for number, name in enumerate(DRIVERS):
        (found,) = _kernel().rglob(f"{name}.ko.xz")
        module = work / f"modules/{number}-{name}.ko"
        module.write_bytes(lzma.decompress(found.read_bytes()))
    return _archive(work)


def _archive(folder: Path) -> bytes:
    """A folder as the cpio archive that kernels take (newc), with root as the owner of all."""
    parts: list[bytes] = []
    for number, path in enumerate([folder, *sorted(folder.rglob("*"))], 1):
        state = path.lstat()
        data = b""
        if stat.S_ISLNK(state.st_mode):
            data = os.fsencode(os.readlink(path))
        elif stat.S_ISREG(state.st_mode):
            data = path.read_bytes()
        name = str(path.relative_to(folder))
        parts += _entry(number, name, state.st_mode, data)
    parts += _entry(0, "TRAILER!!!", 0, b"")
    return b"".join(parts)


def _entry(number: int, name: str, mode: int, data: bytes) -> Iterator[bytes]:
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    yield head + bytes(-len(head) % 4)
    yield data + bytes(-len(data) % 4)
