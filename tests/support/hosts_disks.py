"""Disks of hosts made of namespaces: loop devices, which are the whole machine's.

Each is a free one of the kernel's choice, over a file beside the host, and it is given back when
the host is destroyed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time
from pathlib import Path

__all__ = ["attach", "detach"]

#: How long a mount of a host that was killed may hold its device.
TIMEOUT = 10.0


def attach(directory: Path, pid: int, device: str, size: str) -> None:
    """A new empty disk of ``size``, as 4G, which process ``pid`` sees as ``device``."""
    name = device.removeprefix("/dev/")
    backing = directory / f"disk-{name}"
    subprocess.run(["truncate", "--size", size, backing], check=True)
    found = subprocess.run(
        ["losetup", "--find", "--show", backing], check=True, stdout=subprocess.PIPE, text=True
    )
    loop = found.stdout.strip()
    (directory / f"loop-{name}").write_text(loop)
    node = Path(f"/proc/{pid}/root/dev") / name
    os.mknod(node, stat.S_IFBLK | 0o660, os.stat(loop).st_rdev)


def detach(directory: Path) -> None:
    """Give all disks of a host back that has ended. Raises CalledProcessError."""
    for note in directory.glob("loop-*"):
        loop = note.read_text()
        backing = Path("/sys/block", Path(loop).name, "loop/backing_file")
        with contextlib.suppress(FileNotFoundError):
            if backing.read_text().strip().startswith(f"{directory}/"):
                _free(loop, backing)
        note.unlink()


def _free(loop: str, backing: Path) -> None:
    subprocess.run(["losetup", "--detach", loop], check=True)
    # In use it is only marked; the kernel frees it with its last mount.
    end = time.monotonic() + TIMEOUT
    while backing.exists() and time.monotonic() < end:
        time.sleep(0.05)
