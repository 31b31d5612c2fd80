"""The engine's settings: ``trilby.conf``, with CRI-O's option names for the same meanings.

Each field says how it is written in the file: see config_option.
"""

import enum
import os
from typing import Annotated, Final

import msgspec

from trilby.pods import config_forms as forms
from trilby.pods.config_option import HANDLERS, NAME, Option, Scope

# Annotations are values here, not texts: reading the options costs no second parse of them.

RUNTIME: Final = "trilby.runtime"
NETWORK: Final = "trilby.network"
HANDLER: Final = f"{HANDLERS}.{NAME}"

NEW_PODS: Final = Scope.NEW_PODS
RESTART: Final = Scope.RESTART
LIVE: Final = Scope.LIVE


class CgroupManager(enum.StrEnum):
    """Who makes cgroups: systemd by scopes, or the runtime in the cgroup file system."""

    SYSTEMD = "systemd"
    CGROUPFS = "cgroupfs"


class RuntimeHandler(msgspec.Struct, frozen=True, kw_only=True):
    """``[trilby.runtime.runtimes.<name>]``: an OCI runtime with runc's command line."""

    # fmt: off
    name: str
    path: Annotated[str, Option(
        f"{HANDLER}.runtime_path", NEW_PODS,
        "The program. Empty: NAME, looked up in PATH.",
        form=forms.program,
    )] = ""
    root: Annotated[str, Option(
        f"{HANDLER}.runtime_root", RESTART,
        "Where it keeps its state. Empty: runtime/NAME in the engine's run root.",
        form=forms.absolute,
    )] = ""
    monitor_path: Annotated[str, Option(
        f"{HANDLER}.monitor_path", NEW_PODS,
        "The conmon of this handler. Empty: the one of [trilby.runtime].",
        form=forms.program,
    )] = ""
    monitor_env: Annotated[dict[str, str], Option(
        f"{HANDLER}.monitor_env", NEW_PODS,
        "Environment of that conmon, as `NAME=value`.",
    )] = {}
    allowed_annotations: Annotated[tuple[str, ...], Option(
        f"{HANDLER}.allowed_annotations", NEW_PODS,
        "Annotations that pods of this handler may use; read and kept, not used by this"
        " version.",
    )] = ()
    # fmt: on


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

    # fmt: off
    root: str = "/var/lib/containers/storage/trilby"
    run_root: str = "/run/containers/storage/trilby"
    runtimes: dict[str, RuntimeHandler] = msgspec.field(default_factory=default_runtimes)
    default_runtime: Annotated[str, Option(
        f"{RUNTIME}.default_runtime", NEW_PODS,
        "The runtime handler of pods that name none. Empty: crun if it is installed, else"
        " runc.",
    )] = ""
    conmon: Annotated[str, Option(
        f"{RUNTIME}.conmon", NEW_PODS,
        "The conmon to run: a path, or a name that is looked up in PATH.",
        form=forms.program,
    )] = "conmon"
    cgroup_manager: Annotated[CgroupManager, Option(
        f"{RUNTIME}.cgroup_manager", RESTART,
        "Who makes cgroups: `systemd` (by scopes and slices) or `cgroupfs` (the OCI runtime"
        " itself). Must be the same as the kubelet's cgroup driver.",
        otherwise="systemd where it runs the host, else cgroupfs",
    )] = msgspec.field(default_factory=host_cgroup_manager)
    cgroup_parent: Annotated[str, Option(
        f"{RUNTIME}.cgroup_parent", NEW_PODS,
        "Parent cgroup of pods for which nobody names one.",
    )] = "/trilby"
    infra_command: Annotated[str, Option(
        f"{RUNTIME}.infra_command", NEW_PODS,
        "The process that holds the PID namespace of pods that share one.",
        form=forms.program,
    )] = "catatonit"
    log_size_max: Annotated[int, Option(
        f"{RUNTIME}.log_size_max", NEW_PODS,
        "Bytes after which conmon begins a container's log anew. Negative: never.",
    )] = -1
    log_to_journald: Annotated[bool, Option(
        f"{RUNTIME}.log_to_journald", NEW_PODS,
        "Write the output of containers to the journal, not to files.",
    )] = False
    no_sync_log: Annotated[bool, Option(
        f"{RUNTIME}.no_sync_log", NEW_PODS,
        "Do not flush logs to the disk when they are rotated or a container ends.",
    )] = False
    pids_limit: Annotated[int, Option(
        f"{RUNTIME}.pids_limit", NEW_PODS,
        "Processes that a container may have if it does not say so itself. Negative: no limit.",
    )] = -1
    container_min_memory: Annotated[int, Option(
        f"{RUNTIME}.container_min_memory", NEW_PODS,
        "The smallest memory limit, in bytes, with which a container is started.",
        lowest=0,
    )] = 12 * 1024 * 1024
    ctr_stop_timeout: Annotated[int, Option(
        f"{RUNTIME}.ctr_stop_timeout", LIVE,
        "Seconds of grace for callers that name none; read and kept, not used by the commands"
        " of this version.",
        lowest=0,
    )] = 30
    shm_size: Annotated[int, Option(
        f"{RUNTIME}.shm_size", NEW_PODS,
        "Size in bytes of the pod's /dev/shm; the annotation io.trilby.shm-size of a pod"
        " overrides it.",
        lowest=4096,
    )] = 64 * 1024 * 1024
    default_ulimits: Annotated[tuple[str, ...], Option(
        f"{RUNTIME}.default_ulimits", NEW_PODS,
        "Resource limits of containers: `name=soft:hard`.",
        form=forms.ulimit,
    )] = ()
    default_sysctls: Annotated[dict[str, str], Option(
        f"{RUNTIME}.default_sysctls", NEW_PODS,
        "Sysctls of pods, as `name=value`; those of namespaces that a pod does not have are"
        " left out.",
        form=forms.sysctl,
    )] = {}
    default_env: Annotated[tuple[str, ...], Option(
        f"{RUNTIME}.default_env", NEW_PODS,
        "Environment of containers, as `NAME=value`; images and pods override it.",
        form=forms.environment,
    )] = ()
    default_capabilities: Annotated[tuple[str, ...], Option(
        f"{RUNTIME}.default_capabilities", NEW_PODS,
        "Capabilities of unprivileged containers. Empty: the built-in nine.",
        form=forms.capability,
    )] = ()
    add_inheritable_capabilities: Annotated[bool, Option(
        f"{RUNTIME}.add_inheritable_capabilities", NEW_PODS,
        "Put the capabilities into the inheritable set too.",
    )] = False
    seccomp_profile: Annotated[str, Option(
        f"{RUNTIME}.seccomp_profile", NEW_PODS,
        "The profile that RuntimeDefault means. Empty: the first of"
        " /etc/containers/seccomp.json and /usr/share/containers/seccomp.json.",
        form=forms.absolute,
    )] = ""
    privileged_seccomp_profile: Annotated[str, Option(
        f"{RUNTIME}.privileged_seccomp_profile", NEW_PODS,
        "The profile of privileged containers. Empty: none.",
        form=forms.absolute,
    )] = ""
    read_only: Annotated[bool, Option(
        f"{RUNTIME}.read_only", NEW_PODS,
        "Give every container a read-only root file system.",
    )] = False
    cni_config_dirs: Annotated[tuple[str, ...], Option(
        f"{NETWORK}.network_dir", RESTART,
        "Where CNI configuration lists are looked for: a directory, or a list of them.",
        single=True, form=forms.absolute,
    )] = ("/etc/cni/net.d",)
    cni_plugin_dirs: Annotated[tuple[str, ...], Option(
        f"{NETWORK}.plugin_dirs", RESTART,
        "Where CNI plugins are looked for, in this order.",
        form=forms.absolute,
    )] = ("/usr/libexec/cni", "/opt/cni/bin", "/usr/lib/cni")
    cni_default_network: Annotated[str, Option(
        f"{NETWORK}.cni_default_network", RESTART,
        "Name of the CNI network of pods. Empty: the first file by name.",
    )] = ""
    cni_cache_dir: Annotated[str, Option(
        f"{NETWORK}.cni_cache_dir", RESTART,
        "Where results of CNI plugins are kept, in libcni's format.",
        form=forms.absolute,
    )] = "/var/lib/cni"
    # The network where no configuration is installed; an empty bridge name: none.
    bridge_name: Annotated[str, Option(
        f"{NETWORK}.bridge_name", RESTART,
        "The bridge of the built-in network, which serves where no CNI configuration is"
        " installed. Empty: there is no built-in network.",
        form=forms.bridge,
    )] = "trilby0"
    bridge_subnet: Annotated[str, Option(
        f"{NETWORK}.bridge_subnet", RESTART,
        "IPv4 addresses of the built-in network.",
        form=forms.subnet_v4,
    )] = "10.87.0.0/16"
    bridge_subnet_v6: Annotated[str, Option(
        f"{NETWORK}.bridge_subnet_v6", RESTART,
        "IPv6 addresses of the built-in network. Empty: none.",
        form=forms.subnet_v6,
    )] = "fd74:7269:6c62::/64"
    bridge_data_dir: str = ""
    exec_output_limit: int = 16 * 1024 * 1024
    # fmt: on

    @classmethod
    def beside(cls, graphroot: str, runroot: str) -> "EngineConfig":
        """The defaults, with the state beside a store's."""
        return cls(root=f"{graphroot}/trilby", run_root=f"{runroot}/trilby")
