"""Disks of hosts made of namespaces: loop devices, which are the whole machine's.

Each is a free one of the kernel's choice, over a file beside the host, and it is given back when
the host is destroyed. The host's own udev gives it the name that is asked for.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time
from pathlib import Path

__all__ = ["attach", "detach"]

#: How long udev may take, and how long a mount of a host that was killed may hold its device.
TIMEOUT = 20.0
RULE = 'KERNEL=="loop*", ATTR{{loop/backing_file}}=="{backing}", SYMLINK+="{name}"\n'


def attach(directory: Path, pid: int, device: str, size: str) -> None:
    """A new empty disk of ``size``, as 4G, which process ``pid`` sees as ``device``.

    Raises CalledProcessError, SystemExit when udev does not see it.
    """
    name = device.removeprefix("/dev/")
    backing = directory / f"disk-{name}"
    subprocess.run(["truncate", "--size", size, backing], check=True)
    root = Path(f"/proc/{pid}/root")
    (root / "run/udev/rules.d").mkdir(parents=True, exist_ok=True)
    rule = RULE.format(backing=backing, name=name)
    (root / f"run/udev/rules.d/80-{name}.rules").write_text(rule)
    attached = subprocess.run(
        ["losetup", "--find", "--show", backing], check=True, stdout=subprocess.PIPE, text=True
    )
    loop = Path(attached.stdout.strip())
    (directory / f"loop-{name}").write_text(str(loop))
    node = root / "dev" / loop.name
    if not node.exists():
        os.mknod(node, stat.S_IFBLK | 0o660, loop.stat().st_rdev)
    enter = ["nsenter", "-t", str(pid), "-m", "-n", "-p", "-r", "-w", "udevadm"]
    subprocess.run([*enter, "control", "--reload"], check=True)
    trigger = [*enter, "trigger", "--settle", "--action=change", f"/sys/block/{loop.name}"]
    end = time.monotonic() + TIMEOUT
    while not (root / "dev" / name).is_symlink():
        if time.monotonic() > end:
            raise SystemExit(f"hosts: udev gave {loop} no name {device}")
        subprocess.run(trigger, check=True)


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
