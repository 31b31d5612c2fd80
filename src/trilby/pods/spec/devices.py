"""Device nodes for containers, and the rules of the device cgroup."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

import msgspec

from trilby.oci.runtime import Device, DeviceRule
from trilby.pods import model_container
from trilby.pods.errors import InvalidPodConfig

# Made by the runtime itself, or mounted, in every container.
SKIPPED_NAMES = frozenset(("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"))
RUNTIME_MADE = frozenset(
    f"/dev/{name}"
    for name in "null zero full random urandom tty console ptmx stdin stdout stderr core".split()
)
DENY_ALL = DeviceRule(allow=False, access="rwm")
ALLOW_ALL = DeviceRule(allow=True, access="rwm")


class HostDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device node of the host: where it is for the container, what it is, who may use it."""

    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o660
    uid: int = 0
    gid: int = 0
    permissions: str = "rwm"


def read_device(host_path: str, container_path: str = "", permissions: str = "rwm") -> HostDevice:
    """Look at one node. Raises ``InvalidPodConfig`` if it is no character or block device."""
    try:
        status = os.stat(host_path)
    except OSError as error:
        raise InvalidPodConfig(f"device {host_path}: {error.strerror}") from error
    kind = _kind(status.st_mode)
    if not kind:
        raise InvalidPodConfig(f"device {host_path} is not a device")
    return HostDevice(
        path=container_path or host_path,
        type=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        permissions=permissions,
    )


def read_devices(asked: Iterable[model_container.Device]) -> tuple[HostDevice, ...]:
    """The devices of a request; a directory stands for every device in it."""
    found: list[HostDevice] = []
    for device in asked:
        if not device.permissions or device.permissions.strip("rwm"):
            raise InvalidPodConfig(
                f"device {device.host_path}: permissions {device.permissions!r} are not of r, w, m"
            )
        target = device.container_path or device.host_path
        if not os.path.isdir(device.host_path):
            # A symbolic link, as udev makes them, stands for its target.
            found.append(
                read_device(os.path.realpath(device.host_path), target, device.permissions)
            )
            continue
        for path in _walk(device.host_path):
            inside = target + path.removeprefix(device.host_path.rstrip("/"))
            found.append(read_device(path, inside, device.permissions))
    return tuple(found)


def parse_device(text: str) -> model_container.Device:
    """``host[:container[:permissions]]`` as in CRI-O's additional_devices."""
    host, _, rest = text.partition(":")
    path, _, permissions = rest.partition(":")
    if path and not path.strip("rwm") and not permissions:
        path, permissions = "", path
    return model_container.Device(
        host_path=host, container_path=path or host, permissions=permissions or "rwm"
    )


def host_devices(directory: str = "/dev") -> tuple[HostDevice, ...]:
    """Every device of the host that a privileged container gets."""
    found = []
    for path in _walk(directory):
        if path not in RUNTIME_MADE:
            try:
                found.append(read_device(path))
            except InvalidPodConfig:
                continue  # it went away just now
    return tuple(found)


def build_devices(
    devices: Iterable[HostDevice], *, privileged: bool, owner: tuple[int, int] | None = None
) -> tuple[tuple[Device, ...], tuple[DeviceRule, ...]]:
    """Nodes to make and rules to set. A later device at the same path wins.

    ``owner`` (uid, gid) replaces the nodes' owners. The runtime adds the rules for the devices
    that every container has.
    """
    nodes = {
        item.path: Device(
            path=item.path,
            type=item.type,
            major=item.major,
            minor=item.minor,
            file_mode=item.mode,
            uid=owner[0] if owner else item.uid,
            gid=owner[1] if owner else item.gid,
        )
        for item in devices
    }
    if privileged:
        return tuple(nodes.values()), (ALLOW_ALL,)
    rules = tuple(
        DeviceRule(
            allow=True, type=item.type, major=item.major, minor=item.minor, access=item.permissions
        )
        for item in devices
    )
    return tuple(nodes.values()), (DENY_ALL, *rules)


def _walk(directory: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name in SKIPPED_NAMES or entry.is_symlink():
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif _kind(entry.stat(follow_symlinks=False).st_mode):
            yield entry.path


def _kind(mode: int) -> str:
    return "c" if stat.S_ISCHR(mode) else "b" if stat.S_ISBLK(mode) else ""
