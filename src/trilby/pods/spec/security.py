"""SELinux labels and AppArmor profiles, where the host has them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import msgspec

from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import (
    NamespaceMode,
    NamespaceOptions,
    ProfileType,
    SecurityProfile,
    SELinuxOptions,
)
from trilby.pods.model_container import ContainerConfig
from trilby.pods.model_sandbox import SandboxConfig

CATEGORIES = 1024
SELINUX = "/etc/selinux"
# A container of this type may touch what it likes, so nothing is labelled for it.
SUPER_PRIVILEGED = "spc_t"


class Contexts(msgspec.Struct, frozen=True):
    """The host policy's contexts for containers, as ``user:role:type``."""

    process: str = "system_u:system_r:container_t"
    file: str = "system_u:object_r:container_file_t"


class Labels(msgspec.Struct, frozen=True):
    """For the process, and for what it mounts; empty without SELinux."""

    process: str = ""
    mount: str = ""


def host_contexts() -> Contexts:
    """Those of the policy that /etc/selinux/config names; Fedora's where it says nothing."""
    policy = _assignments(f"{SELINUX}/config").get("SELINUXTYPE", "targeted")
    found = _assignments(f"{SELINUX}/{policy}/contexts/lxc_contexts")
    return parse_contexts(found)


def parse_contexts(found: Mapping[str, str]) -> Contexts:
    """Of lxc_contexts: lines like ``process = "system_u:system_r:container_t:s0"``."""
    default = Contexts()
    process, file = found.get("process", default.process), found.get("file", default.file)
    return Contexts(":".join(process.split(":")[:3]), ":".join(file.split(":")[:3]))


def parse_assignments(text: str) -> dict[str, str]:
    """``key = "value"`` a line, as the files below /etc/selinux have it."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            found[key.strip()] = value.strip().strip('"')
    return found


def _assignments(path: str) -> dict[str, str]:
    try:
        with open(path) as file:
            return parse_assignments(file.read())
    except OSError:
        return {}


def pod_level(sandbox_id: str) -> str:
    """Two categories that are the pod's own: the same id always gives the same level."""
    digest = hashlib.sha256(sandbox_id.encode()).digest()
    first = int.from_bytes(digest[:4], "big") % CATEGORIES
    second = int.from_bytes(digest[4:8], "big") % (CATEGORIES - 1)
    second += second >= first
    low, high = sorted((first, second))
    return f"s0:c{low},c{high}"


def sandbox_labels(pod: SandboxConfig, sandbox_id: str, contexts: Contexts) -> Labels:
    """Of what the containers of a pod have together."""
    options = pod.security.namespaces
    return build_labels(
        pod.security.selinux,
        pod_level(sandbox_id),
        contexts,
        shares_host=_shares_processes(options),
    )


def container_labels(
    pod: SandboxConfig, container: ContainerConfig, level: str, contexts: Contexts
) -> Labels:
    """As CRI-O gives them: its own options, or else those of the pod."""
    options = container.security.namespaces
    return build_labels(
        container.security.selinux or pod.security.selinux,
        level,
        contexts,
        shares_host=_shares_processes(options),
        unconfined=container.security.privileged or options.network is NamespaceMode.NODE,
    )


def _shares_processes(options: NamespaceOptions) -> bool:
    return NamespaceMode.NODE in (options.pid, options.ipc)


def build_labels(
    options: SELinuxOptions | None,
    level: str,
    contexts: Contexts,
    *,
    shares_host: bool = False,
    unconfined: bool = False,
) -> Labels:
    """Labels of a container. With the host's pid or ipc namespace there is no confinement.

    ``unconfined`` (privileged, or in the host's network): only files are labelled.
    """
    options = options or SELinuxOptions()
    if shares_host:
        return Labels()
    user, role, kind = contexts.process.split(":")
    process = (options.user or user, options.role or role, options.type or kind)
    level = options.level or level or "s0"
    file_user = options.user or contexts.file.split(":")[0]
    return Labels(
        "" if unconfined else ":".join((*process, level)),
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
