"""SELinux labels and AppArmor profiles, where the host has them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec

from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import ProfileType, SecurityProfile, SELinuxOptions

CATEGORIES = 1024
CONTEXTS_FILE = "/etc/selinux/targeted/contexts/lxc_contexts"


class Contexts(msgspec.Struct, frozen=True):
    """The host policy's contexts for containers, as ``user:role:type``."""

    process: str = "system_u:system_r:container_t"
    file: str = "system_u:object_r:container_file_t"


class Labels(msgspec.Struct, frozen=True):
    """For the process, and for what it mounts; empty without SELinux."""

    process: str = ""
    mount: str = ""


def parse_contexts(text: str) -> Contexts:
    """Read lxc_contexts: lines like ``process = "system_u:system_r:container_t:s0"``."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            found[key.strip()] = ":".join(value.strip().strip('"').split(":")[:3])
    default = Contexts()
    return Contexts(found.get("process", default.process), found.get("file", default.file))


def pod_level(sandbox_id: str) -> str:
    """Two categories that are the pod's own: the same id always gives the same level."""
    digest = hashlib.sha256(sandbox_id.encode()).digest()
    first = int.from_bytes(digest[:4], "big") % CATEGORIES
    second = int.from_bytes(digest[4:8], "big") % (CATEGORIES - 1)
    second += second >= first
    low, high = sorted((first, second))
    return f"s0:c{low},c{high}"


def build_labels(
    options: SELinuxOptions | None, level: str, contexts: Contexts, *, shares_host: bool
) -> Labels:
    """Labels of a container. With the host's pid or ipc namespace there is no confinement."""
    options = options or SELinuxOptions()
    if shares_host:
        return Labels()
    user, role, kind = contexts.process.split(":")
    process = (options.user or user, options.role or role, options.type or kind)
    level = options.level or level or "s0"
    file_user = options.user or contexts.file.split(":")[0]
    return Labels(
        ":".join((*process, level)),
        ":".join((file_user, *contexts.file.split(":")[1:], level)),
    )


def build_apparmor(
    profile: SecurityProfile | None,
    default: str,
    *,
    enabled: bool,
    privileged: bool,
    loaded: Collection[str] | None = None,
) -> str:
    """The profile's name, empty for none. ``loaded``: the host's profiles, if they were read.

    Raises ``InvalidPodConfig`` when a Localhost profile cannot be had.
    """
    kind = profile.type if profile else ProfileType.RUNTIME_DEFAULT
    name = profile.localhost_ref.removeprefix("localhost/") if profile else ""
    if kind is ProfileType.LOCALHOST and not privileged:
        if not enabled:
            raise InvalidPodConfig(f"AppArmor profile {name!r}: this host has no AppArmor")
        if not name or (loaded is not None and name not in loaded):
            raise InvalidPodConfig(f"AppArmor profile {name!r} is not loaded on this host")
        return name
    if not enabled or privileged or kind is ProfileType.UNCONFINED:
        return ""
    return default
