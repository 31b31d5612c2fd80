"""What a pod sandbox is asked to be: CRI's ``PodSandboxConfig`` without protobuf."""

from __future__ import annotations

import enum

import msgspec

from trilby.pods.model_common import (
    NamespaceOptions,
    Resources,
    SecurityProfile,
    SELinuxOptions,
    SupplementalGroupsPolicy,
)


class Protocol(enum.StrEnum):
    """A port's protocol."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class PortMapping(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the pod and where the host serves it; ``host_port`` 0 means nowhere."""

    container_port: int
    host_port: int = 0
    host_ip: str = ""
    protocol: Protocol = Protocol.TCP


class DNSConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of /etc/resolv.conf; all empty means the host's file."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class SandboxSecurity(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``LinuxSandboxSecurityContext``."""

    namespaces: NamespaceOptions = NamespaceOptions()
    privileged: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: SupplementalGroupsPolicy = SupplementalGroupsPolicy.MERGE
    readonly_rootfs: bool = False
    selinux: SELinuxOptions | None = None
    seccomp: SecurityProfile | None = None
    apparmor: SecurityProfile | None = None


class SandboxConfig(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``PodSandboxConfig`` with its Linux part folded in.

    ``log_directory`` is absolute or empty (then nothing is logged to files). ``cgroup_parent``
    empty means the engine's default. ``overhead`` and ``resources`` are limits of the whole pod.
    """

    name: str
    uid: str
    namespace: str = "default"
    attempt: int = 0
    hostname: str = ""
    log_directory: str = ""
    dns: DNSConfig | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    cgroup_parent: str = ""
    sysctls: dict[str, str] = {}
    security: SandboxSecurity = SandboxSecurity()
    overhead: Resources | None = None
    resources: Resources | None = None
    runtime_handler: str = ""
