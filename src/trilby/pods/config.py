"""The engine's settings: ``trilby.conf``, with CRI-O's option names for the same meanings."""

from __future__ import annotations

import enum
import os

import msgspec


class CgroupManager(enum.StrEnum):
    """Who makes cgroups: the runtime in the cgroup file system, or systemd by scopes."""

    CGROUPFS = "cgroupfs"
    SYSTEMD = "systemd"


class RuntimeHandler(msgspec.Struct, frozen=True, kw_only=True):
    """``[trilby.runtime.runtimes.<name>]``: an OCI runtime with runc's command line."""

    name: str
    path: str = ""  # empty: the name, looked up in PATH
    root: str = ""  # empty: <run root>/runtime/<name>
    monitor_path: str = ""  # empty: the engine's conmon
    monitor_env: dict[str, str] = {}
    allowed_annotations: tuple[str, ...] = ()


def default_runtimes() -> dict[str, RuntimeHandler]:
    return {name: RuntimeHandler(name=name) for name in ("crun", "runc")}


def host_cgroup_manager() -> CgroupManager:
    """systemd where it runs the host."""
    booted = os.path.isdir("/run/systemd/system")
    return CgroupManager.SYSTEMD if booted else CgroupManager.CGROUPFS


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the engine needs to know; paths are absolute.

    ``root`` keeps what must outlive a reboot, ``run_root`` what must not. ``run_root`` has to be
    short: attach sockets below it are limited to 107 bytes.
    """

    root: str = "/var/lib/containers/storage/trilby"
    run_root: str = "/run/containers/storage/trilby"
    runtimes: dict[str, RuntimeHandler] = msgspec.field(default_factory=default_runtimes)
    default_runtime: str = ""  # empty: crun, or runc where there is no crun
    conmon: str = "conmon"
    infra_command: str = "catatonit"  # only for pods that share their PID namespace
    cgroup_manager: CgroupManager = msgspec.field(default_factory=host_cgroup_manager)
    cgroup_parent: str = "/trilby"
    cni_config_dirs: tuple[str, ...] = ("/etc/cni/net.d",)
    cni_plugin_dirs: tuple[str, ...] = ("/usr/libexec/cni", "/opt/cni/bin", "/usr/lib/cni")
    cni_cache_dir: str = "/var/lib/cni"
    cni_default_network: str = ""
    # The network where no configuration is installed; an empty bridge name: none.
    bridge_name: str = "trilby0"
    bridge_subnet: str = "10.87.0.0/16"
    bridge_subnet_v6: str = "fd74:7269:6c62::/64"
    bridge_data_dir: str = ""
    log_size_max: int = -1
    log_to_journald: bool = False
    no_sync_log: bool = False
    pids_limit: int = -1
    container_min_memory: int = 12 * 1024 * 1024
    ctr_stop_timeout: int = 30
    shm_size: int = 64 * 1024 * 1024
    default_ulimits: tuple[str, ...] = ()  # name=soft:hard
    default_sysctls: dict[str, str] = {}
    default_env: tuple[str, ...] = ()
    default_capabilities: tuple[str, ...] = ()  # empty: the builtin nine
    add_inheritable_capabilities: bool = False
    seccomp_profile: str = ""  # empty: the builtin search list
    privileged_seccomp_profile: str = ""
    read_only: bool = False
    exec_output_limit: int = 16 * 1024 * 1024

    @classmethod
    def beside(cls, graphroot: str, runroot: str) -> EngineConfig:
        """The defaults, with the state beside a store's."""
        return cls(root=f"{graphroot}/trilby", run_root=f"{runroot}/trilby")
