"""What a container's OCI config is computed from: plain values, so that a test needs no host."""

from __future__ import annotations

import msgspec

from trilby.oci.image import ImageConfig
from trilby.oci.runtime import Rlimit, Spec
from trilby.pods.model_container import ContainerConfig
from trilby.pods.model_sandbox import SandboxConfig
from trilby.pods.spec.cdi import SPEC_DIRS, Edits
from trilby.pods.spec.devices import HostDevice
from trilby.pods.spec.host import HostFacts, RuntimeFeatures
from trilby.pods.spec.security import Contexts
from trilby.pods.spec.users import ResolvedUser

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_KILL",
)


class SpecDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's settings that shape every container, with CRI-O's meanings.

    ``env`` are ``NAME=value`` strings. ``pids_limit`` <= 0 is no limit. ``seccomp_profile`` is a
    path (empty: containers-common's file), ``privileged_seccomp_profile`` likewise (empty: no
    seccomp for privileged containers). ``min_memory`` is in bytes. ``additional_devices`` are
    ``host[:container[:rwm]]``. ``storage_root`` is the store's directory. ``read_only`` makes
    every root file system so, with file systems in memory at /run, /tmp and /var/tmp.
    ``allowed_annotations`` (of the handler) reach runtimes that obey them.
    """

    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    add_inheritable_capabilities: bool = False
    env: tuple[str, ...] = ()
    rlimits: tuple[Rlimit, ...] = ()
    pids_limit: int = -1
    seccomp_profile: str = ""
    privileged_seccomp_profile: str = ""
    privileged_without_host_devices: bool = False
    device_ownership_from_security_context: bool = False
    apparmor_profile: str = ""
    min_memory: int = 12 * 1024 * 1024
    read_only: bool = False
    absent_mount_sources_to_reject: tuple[str, ...] = ()
    additional_devices: tuple[str, ...] = ()
    storage_root: str = ""
    allowed_annotations: tuple[str, ...] = ()
    cdi_spec_dirs: tuple[str, ...] = SPEC_DIRS


class SandboxPaths(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine made for the sandbox. A namespace path empty: the host's namespace.

    ``pidns`` is the namespace of the infra process when pid is shared by the pod, or that of the
    target container. ``resolv_conf``, ``hostname_file``, ``hosts_file`` are files to bind (empty:
    none); ``shm`` is a directory to bind on /dev/shm. ``selinux_level`` is the pod's MCS level
    (empty: one that is made from its id).
    """

    id: str
    netns: str = ""
    ipcns: str = ""
    utsns: str = ""
    userns: str = ""
    pidns: str = ""
    hostname: str = ""
    resolv_conf: str = ""
    hostname_file: str = ""
    hosts_file: str = ""
    shm: str = ""
    selinux_level: str = ""

    def namespaces(self) -> dict[str, str]:
        """OCI namespace type to path."""
        return {
            "network": self.netns,
            "ipc": self.ipcns,
            "uts": self.utsns,
            "user": self.userns,
            "pid": self.pidns,
        }


class SpecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One container to be. ``rootfs`` is its mounted root.

    ``cgroups_path`` is in the form that the runtime wants: an absolute cgroup path (cgroupfs), or
    ``slice:prefix:name`` (systemd). ``image_mounts`` says where the images of image mounts are
    mounted: container path to host directory. ``volumes`` are the image's own VOLUMEs that the
    engine made: container path to host directory.
    """

    container_id: str
    sandbox: SandboxConfig
    paths: SandboxPaths
    container: ContainerConfig
    image: ImageConfig
    rootfs: str
    cgroups_path: str
    defaults: SpecDefaults = SpecDefaults()
    image_mounts: dict[str, str] = {}
    volumes: dict[str, str] = {}
    features: RuntimeFeatures = RuntimeFeatures()


class SpecInputs(msgspec.Struct, frozen=True, kw_only=True):
    """A request with everything that was read from the host and the root file system.

    ``sources`` maps a mount's container path to the resolved host path. ``seccomp`` is a profile
    file's bytes (None: no seccomp) and ``seccomp_name`` its path. ``selinux`` None: no SELinux.
    ``apparmor_profiles`` are the loaded ones (None: not known). ``cdi`` are the edits for the CDI
    devices; their device nodes are among ``devices``.
    """

    request: SpecRequest
    host: HostFacts
    user: ResolvedUser
    sources: dict[str, str] = {}
    devices: tuple[HostDevice, ...] = ()
    seccomp: bytes | None = None
    seccomp_name: str = ""
    selinux: Contexts | None = None
    apparmor_profiles: frozenset[str] | None = None
    cdi: tuple[Edits, ...] = ()


class BuiltSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The config, who the container runs as, and what could not be given as it was asked for."""

    spec: Spec
    user: ResolvedUser
    warnings: tuple[str, ...] = ()
