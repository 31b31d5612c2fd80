"""What sandboxes and containers are found to be: states, statuses and statistics.

Times are nanoseconds since 1970 (0: not yet), as in the Kubernetes CRI.
"""

from __future__ import annotations

import enum

import msgspec

from trilby.pods.model_common import NamespaceOptions, Resources
from trilby.pods.model_container import ImageSpec, Mount


class SandboxState(enum.StrEnum):
    """READY: it can hold containers. NOTREADY: stopped, or what it needs is gone."""

    READY = "READY"
    NOTREADY = "NOTREADY"


class ContainerState(enum.StrEnum):
    """A container's life: created, running, exited; UNKNOWN when nobody can tell."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    EXITED = "EXITED"
    UNKNOWN = "UNKNOWN"


class SandboxStatus(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``PodSandboxStatus``. ``ips``: the primary address first; empty in host network.

    ``pid`` is that of the infra process, 0 without one. ``reason`` and ``message`` say why it
    is not ready.
    """

    id: str
    name: str
    uid: str
    namespace: str
    attempt: int
    state: SandboxState
    created_at: int
    ips: tuple[str, ...] = ()
    namespaces: NamespaceOptions = NamespaceOptions()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    runtime_handler: str = ""
    hostname: str = ""
    pid: int = 0
    reason: str = ""
    message: str = ""


class ContainerUser(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that the first process was started with."""

    uid: int
    gid: int
    supplemental_groups: tuple[int, ...] = ()


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``ContainerStatus``. ``image_ref`` is a repository digest, ``image_id`` the image's id.

    ``exit_code`` is None until it exited. ``reason`` is Completed, Error, OOMKilled, StartError,
    or Unknown. ``warnings`` says what the host could not give and was clamped or left out.
    """

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: ContainerState
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    exit_code: int | None = None
    image: ImageSpec
    image_ref: str = ""
    image_id: str = ""
    reason: str = ""
    message: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    log_path: str = ""
    resources: Resources = Resources()
    user: ContainerUser | None = None
    stop_signal: str = ""
    pid: int = 0
    warnings: tuple[str, ...] = ()


class PressureAverages(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a PSI file: nanoseconds in total, and percent over 10, 60, 300 seconds."""

    total: int
    avg10: float
    avg60: float
    avg300: float


class Pressure(msgspec.Struct, frozen=True, kw_only=True):
    """Pressure stall information of one resource."""

    full: PressureAverages
    some: PressureAverages


class CpuStats(msgspec.Struct, frozen=True, kw_only=True):
    """``usage_core_nanoseconds`` since the cgroup was made; ``usage_nano_cores`` now."""

    timestamp: int
    usage_core_nanoseconds: int
    usage_nano_cores: int | None = None
    pressure: Pressure | None = None


class MemoryStats(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes. ``working_set`` is usage without inactive file; ``available`` under the limit."""

    timestamp: int
    working_set: int
    usage: int
    available: int | None = None
    rss: int | None = None
    page_faults: int | None = None
    major_page_faults: int | None = None
    pressure: Pressure | None = None


class SwapStats(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of swap used, and still usable under the limit."""

    timestamp: int
    usage: int
    available: int | None = None


class FilesystemStats(msgspec.Struct, frozen=True, kw_only=True):
    """A container's writable layer, on the file system of ``mountpoint``."""

    timestamp: int
    mountpoint: str
    used_bytes: int
    inodes_used: int


class InterfaceStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a network interface since it was made."""

    name: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class ContainerStats(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``ContainerStats``; a part is None when the host cannot tell it."""

    id: str
    sandbox_id: str
    name: str
    attempt: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    cpu: CpuStats | None = None
    memory: MemoryStats | None = None
    swap: SwapStats | None = None
    writable_layer: FilesystemStats | None = None
    io_pressure: Pressure | None = None
    timestamp: int = 0
    process_count: int | None = None


class SandboxStats(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``PodSandboxStats``: the pod's cgroup, its network, its containers."""

    id: str
    name: str
    uid: str
    namespace: str
    attempt: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    cpu: CpuStats | None = None
    memory: MemoryStats | None = None
    io_pressure: Pressure | None = None
    timestamp: int = 0
    interfaces: tuple[InterfaceStats, ...] = ()
    process_count: int | None = None
    containers: tuple[ContainerStats, ...] = ()
