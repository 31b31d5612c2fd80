"""What a container is asked to be: CRI's ``ContainerConfig`` without protobuf."""

from __future__ import annotations

import enum

import msgspec

from trilby.pods.model_common import (
    IdMapping,
    NamespaceOptions,
    Resources,
    SecurityProfile,
    SELinuxOptions,
    SupplementalGroupsPolicy,
)


class ImageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An image: ``image`` is an id or reference that resolves; ``user_specified`` is for people.

    ``ref`` is the id that it was found to have, empty if nobody has looked.
    """

    image: str
    ref: str = ""
    user_specified: str = ""
    runtime_handler: str = ""
    annotations: dict[str, str] = {}


class Propagation(enum.StrEnum):
    """Which mounts cross between host and container afterwards (CRI ``MountPropagation``)."""

    PRIVATE = "PRIVATE"
    HOST_TO_CONTAINER = "HOST_TO_CONTAINER"
    BIDIRECTIONAL = "BIDIRECTIONAL"


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``Mount``: a host path, or an image (``image`` set, ``host_path`` empty)."""

    container_path: str
    host_path: str = ""
    readonly: bool = False
    recursive_read_only: bool = False
    propagation: Propagation = Propagation.PRIVATE
    selinux_relabel: bool = False
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    image: ImageSpec | None = None
    image_sub_path: str = ""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A host device; ``permissions`` is a cgroup access string made of r, w and m."""

    host_path: str
    container_path: str = ""
    permissions: str = "rwm"


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Names with or without ``CAP_``, any case; ``ALL`` is every capability."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    add_ambient: tuple[str, ...] = ()


class ContainerSecurity(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``LinuxContainerSecurityContext``.

    ``masked_paths`` and ``readonly_paths``: None means the engine's defaults, an empty tuple means
    none (Kubernetes' ProcMount Unmasked). ``seccomp`` None means unconfined, as CRI says.
    """

    capabilities: Capabilities | None = None
    privileged: bool = False
    namespaces: NamespaceOptions = NamespaceOptions()
    selinux: SELinuxOptions | None = None
    run_as_user: int | None = None
    run_as_username: str = ""
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: SupplementalGroupsPolicy = SupplementalGroupsPolicy.MERGE
    readonly_rootfs: bool = False
    no_new_privs: bool = False
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    seccomp: SecurityProfile | None = None
    apparmor: SecurityProfile | None = None


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``ContainerConfig`` with its Linux part folded in.

    ``envs`` are pairs in order, a later one wins. Environment values are text; bytes that are not
    UTF-8 are carried by ``surrogateescape``. ``log_path`` is relative to the sandbox's log
    directory. ``stop_signal`` is a name such as ``SIGTERM``, empty for the image's own.
    """

    name: str
    image: ImageSpec
    attempt: int = 0
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    envs: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Resources = Resources()
    security: ContainerSecurity = ContainerSecurity()
    stop_signal: str = ""

    @property
    def leaves_stdin(self) -> bool:
        """Whether stdin stays open when a client's input ends, for whoever comes next."""
        return self.stdin and not self.stdin_once
