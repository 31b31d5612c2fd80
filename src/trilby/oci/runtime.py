"""The runtime configuration, config.json, and state of a container (runtime-spec 1.0 to 1.3).

Names in JSON are the specification's; what has its default value is not written. Memory is in
bytes, CPU times in microseconds. Written for runc 1.1 and crun, which both ignore what they do
not know.
"""

from __future__ import annotations

import msgspec

from trilby.oci import codec

SPEC_VERSION = "1.0.2"


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """How every type here is written."""


class User(_Struct, frozen=True):
    uid: int
    gid: int
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()


class ConsoleSize(_Struct, frozen=True):
    height: int
    width: int


class Capabilities(_Struct, frozen=True):
    """Sets of names like ``CAP_CHOWN``."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(_Struct, frozen=True):
    """``type`` is a name like ``RLIMIT_NOFILE``."""

    type: str
    hard: int
    soft: int


class IoPriority(_Struct, frozen=True):
    class_: str = msgspec.field(name="class")
    priority: int = 0


class Scheduler(_Struct, frozen=True):
    """``policy`` like ``SCHED_BATCH``, flags like ``SCHED_FLAG_RECLAIM``; times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class Process(_Struct, frozen=True):
    """A process to run in a container: the first one, or one of ``exec --process``."""

    user: User
    args: tuple[str, ...]
    cwd: str
    terminal: bool = False
    console_size: ConsoleSize | None = None
    env: tuple[str, ...] = ()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: int | None = None
    selinux_label: str = ""
    io_priority: IoPriority | None = None
    scheduler: Scheduler | None = None


class Root(_Struct, frozen=True):
    path: str
    readonly: bool = False


class IdMapping(_Struct, frozen=True):
    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


class Mount(_Struct, frozen=True):
    """``options`` as mount(8) has them, with rbind, rro, idmap, tmpcopyup and the propagations."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class Hook(_Struct, frozen=True):
    """A program; ``timeout`` in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Hooks(_Struct, frozen=True):
    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Namespace(_Struct, frozen=True):
    """``type``: pid, network, mount, ipc, uts, user, cgroup, time. No path means a new one."""

    type: str
    path: str = ""


class Device(_Struct, frozen=True):
    """A device node to make; ``type`` is c, b, u or p, ``file_mode`` an ordinary integer."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceRule(_Struct, frozen=True):
    """A rule of the device cgroup; ``type`` is a, c or b; no number means any."""

    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Memory(_Struct, frozen=True):
    """Bytes; -1 is unlimited; ``swap`` is memory and swap together, as in cgroup v1."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = msgspec.field(name="kernelTCP", default=None)
    swappiness: int | None = None
    disable_oom_killer: bool | None = msgspec.field(name="disableOOMKiller", default=None)
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(_Struct, frozen=True):
    """``cpus`` and ``mems`` are lists like ``0-3,7``."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(_Struct, frozen=True):
    limit: int


class WeightDevice(_Struct, frozen=True):
    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(_Struct, frozen=True):
    major: int
    minor: int
    rate: int


class BlockIo(_Struct, frozen=True):
    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = msgspec.field(
        name="throttleReadIOPSDevice", default=()
    )
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = msgspec.field(
        name="throttleWriteIOPSDevice", default=()
    )


class HugepageLimit(_Struct, frozen=True):
    """``page_size`` like ``2MB``; ``limit`` in bytes."""

    page_size: str
    limit: int


class InterfacePriority(_Struct, frozen=True):
    name: str
    priority: int


class Network(_Struct, frozen=True):
    class_id: int | None = msgspec.field(name="classID", default=None)
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(_Struct, frozen=True):
    hca_handles: int | None = None
    hca_objects: int | None = None


class LinuxResources(_Struct, frozen=True):
    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = msgspec.field(name="blockIO", default=None)
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: dict[str, Rdma] = {}
    unified: dict[str, str] = {}


class SeccompArg(_Struct, frozen=True):
    """``op`` like ``SCMP_CMP_EQ``."""

    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompSyscall(_Struct, frozen=True):
    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()


class Seccomp(_Struct, frozen=True):
    """Actions like ``SCMP_ACT_ERRNO``, architectures like ``SCMP_ARCH_X86_64``."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[SeccompSyscall, ...] = ()


class IntelRdt(_Struct, frozen=True):
    clos_id: str = msgspec.field(name="closID", default="")
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_cmt: bool = msgspec.field(name="enableCMT", default=False)
    enable_mbm: bool = msgspec.field(name="enableMBM", default=False)
    schemata: tuple[str, ...] = ()
    enable_monitoring: bool = False


class Personality(_Struct, frozen=True):
    """``domain``: LINUX or LINUX32."""

    domain: str
    flags: tuple[str, ...] = ()


class NetDevice(_Struct, frozen=True):
    """A network device to move into the container; ``name`` is the one that it gets there."""

    name: str = ""


class MemoryPolicy(_Struct, frozen=True):
    """``mode`` like ``MPOL_BIND``, flags like ``MPOL_F_STATIC_NODES``; ``nodes`` like ``0-1``."""

    mode: str
    nodes: str = ""
    flags: tuple[str, ...] = ()


class TimeOffset(_Struct, frozen=True):
    secs: int = 0
    nanosecs: int = 0


class Linux(_Struct, frozen=True):
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    sysctl: dict[str, str] = {}
    resources: LinuxResources | None = None
    cgroups_path: str = ""
    namespaces: tuple[Namespace, ...] = ()
    devices: tuple[Device, ...] = ()
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    intel_rdt: IntelRdt | None = None
    personality: Personality | None = None
    time_offsets: dict[str, TimeOffset] = {}
    net_devices: dict[str, NetDevice] = {}
    memory_policy: MemoryPolicy | None = None


class Spec(_Struct, frozen=True):
    """A container's ``config.json``."""

    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None


class State(_Struct, frozen=True):
    """What ``state`` of a runtime prints; ``status``: creating, created, running, stopped, paused.

    ``pid`` is 0 when there is no process.
    """

    oci_version: str
    id: str
    status: str
    bundle: str
    pid: int = 0
    annotations: dict[str, str] = {}


def encode_spec(spec: Spec) -> bytes:
    """The bytes of a ``config.json``."""
    return codec.encode(spec)


def encode_process(process: Process) -> bytes:
    """The bytes of the file that ``exec --process`` reads."""
    return codec.encode(process)


def parse_spec(raw: bytes, what: str = "config.json") -> Spec:
    """Read a ``config.json``; members that we do not know are dropped. Raises MalformedDocument."""
    return codec.decode(Spec, raw, what)


def parse_state(raw: bytes, what: str = "container state") -> State:
    """Read what ``state`` printed; raises MalformedDocument."""
    return codec.decode(State, raw, what)
