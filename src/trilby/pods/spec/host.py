"""What a host can give to containers, as one value; and reading it from the running host."""

from __future__ import annotations

import functools
import os
import platform

import msgspec

from trilby.system.labels import has_labels
from trilby.system.limits import HostLimits, host_limits

# platform.machine() in the names of Go, which seccomp profiles use.
ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "x86",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
}


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """This host, as far as a spec depends on it.

    ``arch`` is Go's name of the processor, ``kernel`` (major, minor).
    """

    limits: HostLimits
    arch: str = "amd64"
    kernel: tuple[int, int] = (6, 12)
    apparmor: bool = False
    selinux: bool = False


class RuntimeFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """What the OCI runtime can do, from its ``features`` command."""

    recursive_read_only: bool = True


class _Features(msgspec.Struct, frozen=True, rename="camel"):
    mount_options: tuple[str, ...] = ()


def parse_features(printed: bytes) -> RuntimeFeatures:
    """Understand what ``runc features`` printed (runtime-spec, features.md).

    Raises ``msgspec.DecodeError`` when it is not a features document.
    """
    features = msgspec.json.decode(printed, type=_Features)
    return RuntimeFeatures(
        recursive_read_only="rro" in features.mount_options,
    )


@functools.cache
def detect_host() -> HostFacts:
    """Look at this host and this process, once."""
    machine = platform.machine()
    major, minor = os.uname().release.split(".")[:2]
    return HostFacts(
        limits=host_limits(),
        arch=ARCHITECTURES.get(machine, machine),
        kernel=(int(major), int("".join(filter(str.isdigit, minor)) or 0)),
        apparmor=_apparmor_enabled(),
        selinux=has_labels(),
    )


def _apparmor_enabled() -> bool:
    try:
        with open("/sys/module/apparmor/parameters/enabled") as file:
            return file.read().strip() == "Y"
    except OSError:
        return False
