"""What sandbox and container configurations share: namespaces, profiles, resources.

Modelled on the Kubernetes CRI v1 messages, without protobuf. All types are immutable values that
``msgspec`` can write as JSON, because the engine keeps them on disk. An absent message is ``None``,
an absent list is empty.
"""

from __future__ import annotations

import enum

import msgspec


class NamespaceMode(enum.StrEnum):
    """Whose namespace a process is in (CRI ``NamespaceMode``)."""

    POD = "POD"
    CONTAINER = "CONTAINER"
    NODE = "NODE"
    TARGET = "TARGET"


class IdMapping(msgspec.Struct, frozen=True, kw_only=True):
    """``length`` ids from ``container_id`` inside are those from ``host_id`` outside."""

    container_id: int
    host_id: int
    length: int


class UserNamespace(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``UserNamespace``: mode POD with one uid and one gid mapping, or NODE."""

    mode: NamespaceMode = NamespaceMode.NODE
    uids: tuple[IdMapping, ...] = ()
    gids: tuple[IdMapping, ...] = ()


class NamespaceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``NamespaceOption``. ``target_id`` is a container id, for pid TARGET only."""

    network: NamespaceMode = NamespaceMode.POD
    pid: NamespaceMode = NamespaceMode.CONTAINER
    ipc: NamespaceMode = NamespaceMode.POD
    target_id: str = ""
    userns: UserNamespace | None = None


class ProfileType(enum.StrEnum):
    """Where a security profile comes from (CRI ``SecurityProfile.ProfileType``)."""

    RUNTIME_DEFAULT = "RuntimeDefault"
    UNCONFINED = "Unconfined"
    LOCALHOST = "Localhost"


class SecurityProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A seccomp or AppArmor profile.

    ``localhost_ref`` is an absolute path (seccomp) or a loaded profile's name (AppArmor).
    """

    type: ProfileType = ProfileType.RUNTIME_DEFAULT
    localhost_ref: str = ""


class SELinuxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of an SELinux context; empty parts are chosen by the host's policy."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class SupplementalGroupsPolicy(enum.StrEnum):
    """Merge: the image's groups of the user count too. Strict: only the listed ones."""

    MERGE = "Merge"
    STRICT = "Strict"


class HugepageLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit in bytes on pages of ``page_size``, in the kernel's spelling such as ``2MB``."""

    page_size: str
    limit: int


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``LinuxContainerResources``. Zero (or empty) means "not set" everywhere.

    Periods and quotas are microseconds, memory is bytes (swap: -1 unlimited; it counts memory
    plus swap), ``oom_score_adj`` is None when not given because 0 is a meaningful value.
    """

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory_limit: int = 0
    memory_swap_limit: int = 0
    oom_score_adj: int | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    unified: dict[str, str] = {}
