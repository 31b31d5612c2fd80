"""What a virtual machine boots: Debian's newest kernel, and a disk with the newest stand-in.

The disk is an ext4 of the stand-in for Rawhide with nothing held back, and the kernel's modules.
The first root file system, in memory, loads the disk's and the network's drivers, sets the address
up and puts the files of one host into its place; a second archive behind it has these.
"""

from __future__ import annotations

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

__all__ = ["DISK", "INITRD", "KERNEL", "archive", "machine"]

KERNEL_PACKAGE = "linux-image-cloud-amd64"
KERNEL, INITRD, DISK = "vmlinuz", "initrd", "disk"
DISK_SIZE = "16G"
#: What the kernel has as modules and needs before there is a disk, in this order.
DRIVERS = ("virtio_blk", "failover", "net_failover", "virtio_net")
INIT = Path(__file__).with_name("machine-init")
FOLDERS = ("dev", "proc", "sys", "root", "bin", "modules")


def machine() -> Path:
    """A folder with the three files, made now if it is not there."""
    root, kernel = root_for_ansible(newest=True), _kernel()
    mark = fingerprint(str(root), str(kernel), DISK_SIZE, *DRIVERS, INIT, Path(__file__))
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
    initrd = folder / "initrd-files"
    _first_root(initrd, inside)
    (folder / INITRD).write_bytes(archive(initrd))
    subprocess.run(
        ["mkfs.ext4", "-q", "-d", work, "-E", "lazy_itable_init=1", folder / DISK, DISK_SIZE],
        check=True,
    )
    shutil.rmtree(work)
    shutil.rmtree(initrd)


def _first_root(folder: Path, modules: Path) -> None:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, folder / "bin/busybox")
    (folder / "bin/sh").symlink_to("busybox")
    shutil.copy(INIT, folder / "init")
    for number, name in enumerate(DRIVERS):
        (found,) = modules.rglob(f"{name}.ko")
        shutil.copy(found, folder / f"modules/{number}-{name}.ko")


def archive(folder: Path) -> bytes:
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
