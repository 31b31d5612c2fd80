"""Options of CRI-O that trilby.conf does not have, for people who bring a crio.conf along.

crio.conf(5) of CRI-O 1.36. Where another option or another way does the same, it is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["FOREIGN"]

_NOTHING: Final = "CRI-O has this option, trilby has not: take it out"
_NEVER_WIPED: Final = "the store is repaired when it is opened, and never wiped: take it out"
_RUNROOT: Final = "all such files are below runroot: take it out"
_NO_PAUSE: Final = "there is no pause image: take it out"
_FOR_ALL: Final = "[trilby.runtime] has it, for all handlers"
_KUBELET: Final = "the kubelet says it for each pod: take it out"

_REPLACED: Final[Mapping[str, str]] = {
    "trilby.imagestore": "images apart from containers are not supported: take it out",
    "trilby.version_file": _NEVER_WIPED,
    "trilby.version_file_persist": _NEVER_WIPED,
    "trilby.clean_shutdown_file": _NEVER_WIPED,
    "trilby.internal_wipe": _NEVER_WIPED,
    "trilby.internal_repair": _NEVER_WIPED,
    "trilby.api.tls_cipher_suites": "OpenSSL chooses: take it out",
    "trilby.runtime.conmon_env": "say monitor_env in the handlers' tables",
    "trilby.runtime.container_exits_dir": _RUNROOT,
    "trilby.runtime.container_attach_socket_dir": _RUNROOT,
    "trilby.runtime.namespaces_dir": _RUNROOT,
    "trilby.runtime.pinns_path": "no such program is needed: take it out",
    "trilby.runtime.drop_infra_ctr": "pods have no infra container: take it out",
    "trilby.runtime.enable_pod_events": "events are always sent: take it out",
    "trilby.runtime.uid_mappings": _KUBELET,
    "trilby.runtime.gid_mappings": _KUBELET,
    "trilby.runtime.minimum_mappable_uid": _KUBELET,
    "trilby.runtime.minimum_mappable_gid": _KUBELET,
    "trilby.runtime.runtimes.NAME.container_min_memory": _FOR_ALL,
    "trilby.runtime.runtimes.NAME.no_sync_log": _FOR_ALL,
    "trilby.runtime.runtimes.NAME.seccomp_profile": _FOR_ALL,
    "trilby.runtime.runtimes.NAME.runtime_type": "handlers are of the type oci: take it out",
    "trilby.runtime.runtimes.NAME.stream_websockets": "WebSockets are always served: take it out",
    "trilby.image.pause_image": _NO_PAUSE,
    "trilby.image.pause_image_auth_file": _NO_PAUSE,
    "trilby.image.pause_command": "there is no pause image; see infra_command in [trilby.runtime]",
    "trilby.network.plugin_dir": "say plugin_dirs, which is a list",
    "trilby.stats.stats_collection_period": "say collection_period",
}

_ABSENT: Final[Mapping[str, str]] = {
    "trilby": "nri checkpoint_restore",
    "trilby.runtime": "conmon_cgroup infra_ctr_cpuset shared_cpuset selinux"
    " hostnetwork_disable_selinux apparmor_profile allowed_devices additional_devices"
    " device_ownership_from_security_context cdi_spec_dirs hooks_dir default_mounts_file timezone"
    " bind_mount_prefix no_pivot log_filter absent_mount_sources_to_reject"
    " disable_hostport_mapping blockio_config_file blockio_reload rdt_config_file"
    " irqbalance_config_file irqbalance_config_restore_file min_injected_gomaxprocs"
    " decryption_keys_path additional_artifact_stores enable_criu_support workloads",
    "trilby.runtime.runtimes.NAME": "runtime_config_path inherit_default_runtime"
    " privileged_without_host_devices monitor_cgroup monitor_exec_cgroup platform_runtime_paths"
    " runtime_pull_image default_annotations exec_cpu_affinity container_create_timeout",
    "trilby.image": "namespaced_auth_dir image_volumes separate_pull_cgroup"
    " auto_reload_registries oci_artifact_mount_support",
    "trilby.network": "cni_status_grace_period",
}

#: Key, with NAME for a handler -> what to do about it.
FOREIGN: Final[Mapping[str, str]] = {
    "crio": "the tables of trilby.conf have the names of crio.conf: write trilby for crio",
    **{f"{table}.{name}": _NOTHING for table, names in _ABSENT.items() for name in names.split()},
    **_REPLACED,
}
