"""The daemon's settings: what ``trilby.conf`` says besides what the engine reads there.

Each field says how it is written in the file: see pods/config_option.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from trilby.pods import config_forms as forms
from trilby.pods.config import EngineConfig
from trilby.pods.config_option import Kind, Option, Scope

# Annotations are values here, not texts: reading the options costs no second parse of them.

if TYPE_CHECKING:
    from trilby.image.context import ImageContext
    from trilby.storage.config import StorageConfig

ROOT: Final = "trilby"
API: Final = "trilby.api"
RUNTIME: Final = "trilby.runtime"
IMAGE: Final = "trilby.image"
METRICS: Final = "trilby.metrics"
STATS: Final = "trilby.stats"
TRACING: Final = "trilby.tracing"
NRI: Final = "trilby.nri"
VALIDATOR: Final = "trilby.nri.default_validator"

LIVE: Final = Scope.LIVE
NEW_PODS: Final = Scope.NEW_PODS
RESTART: Final = Scope.RESTART

POD_METRICS: Final = (
    *("all", "cpu", "disk", "diskIO", "hugetlb", "memory", "network", "oom", "pressure"),
    *("process", "spec"),
)


class DaemonConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the daemon needs to know; paths are absolute, times are in seconds.

    ``root`` and ``runroot`` are those of the store, "" for what storage.conf says; a loaded
    configuration has them filled in. ``engine`` is what the engine gets.
    """

    # fmt: off
    engine: EngineConfig = msgspec.field(default_factory=EngineConfig)

    # -- [trilby] ----------------------------------------------------------------------------
    root: Annotated[str, Option(
        f"{ROOT}.root", RESTART,
        "Where images, layers and containers are kept. Empty: as storage.conf says.",
        form=forms.absolute,
    )] = ""
    runroot: Annotated[str, Option(
        f"{ROOT}.runroot", RESTART,
        "Where the store keeps what does not outlive a reboot. Empty: as storage.conf says.",
        form=forms.absolute,
    )] = ""
    storage_driver: Annotated[str, Option(
        f"{ROOT}.storage_driver", RESTART,
        "The storage driver. Empty: as storage.conf says, or the one in use.",
        choices=("", "overlay", "vfs"),
    )] = ""
    storage_option: Annotated[tuple[str, ...], Option(
        f"{ROOT}.storage_option", RESTART,
        "Options of the storage driver, as `overlay.mountopt=nodev`, in place of those of"
        " storage.conf. Empty: as storage.conf says.",
        form=forms.environment,
    )] = ()
    log_dir: Annotated[str, Option(
        f"{ROOT}.log_dir", NEW_PODS,
        "Parent of the log directories of pods that name none.",
        form=forms.path,
    )] = "/var/log/trilby/pods"

    # -- [trilby.api] ------------------------------------------------------------------------
    listen: Annotated[str, Option(
        f"{API}.listen", RESTART,
        "The socket of the CRI; the kubelet's containerRuntimeEndpoint is unix:// and this.",
        form=forms.socket,
    )] = "/run/trilby/trilby.sock"
    socket_mode: Annotated[int, Option(
        f"{API}.socket_mode", RESTART,
        "File mode of that socket. Who may write to it is root on this host.",
        kind=Kind.MODE,
    )] = 0o660
    grpc_max_send_msg_size: Annotated[int, Option(
        f"{API}.grpc_max_send_msg_size", RESTART,
        "The longest message, in bytes, that the daemon sends.",
        lowest=1 << 20, highest=(1 << 31) - 1,
    )] = 80 << 20
    grpc_max_recv_msg_size: Annotated[int, Option(
        f"{API}.grpc_max_recv_msg_size", RESTART,
        "The longest message, in bytes, that the daemon takes.",
        lowest=1 << 20, highest=(1 << 31) - 1,
    )] = 80 << 20
    event_backlog: Annotated[int, Option(
        f"{API}.event_backlog", RESTART,
        "Events of containers that are kept for a client that does not read them; then the"
        " oldest ones are dropped.",
        lowest=16, highest=1 << 20,
    )] = 1000
    stream_address: Annotated[str, Option(
        f"{API}.stream_address", RESTART,
        "Address of the server for exec, attach and port-forward.",
        form=forms.address,
    )] = "127.0.0.1"
    stream_port: Annotated[int, Option(
        f"{API}.stream_port", RESTART,
        "Its port. 0: any that is free.",
        kind=Kind.PORT,
    )] = 0
    stream_idle_timeout: Annotated[float, Option(
        f"{API}.stream_idle_timeout", RESTART,
        "How long a stream may carry nothing before it is closed. 0: for ever.",
    )] = 4 * 3600.0
    stream_enable_tls: Annotated[bool, Option(
        f"{API}.stream_enable_tls", RESTART,
        "Serve streams by TLS.",
    )] = False
    stream_tls_cert: Annotated[str, Option(
        f"{API}.stream_tls_cert", RESTART,
        "The certificate, with those between it and its CA, in PEM. Its content is read again"
        " when the file changes.",
        form=forms.absolute,
    )] = ""
    stream_tls_key: Annotated[str, Option(
        f"{API}.stream_tls_key", RESTART,
        "The key of the certificate, in PEM.",
        form=forms.absolute,
    )] = ""
    stream_tls_ca: Annotated[str, Option(
        f"{API}.stream_tls_ca", RESTART,
        "CAs of clients, in PEM: clients must have a certificate of one of them. Empty:"
        " clients need none.",
        form=forms.absolute,
    )] = ""
    stream_tls_min_version: Annotated[str, Option(
        f"{API}.tls_min_version", RESTART,
        "The oldest version of TLS, of streams and of metrics.",
        choices=("VersionTLS12", "VersionTLS13"),
    )] = "VersionTLS12"

    # -- [trilby.runtime] --------------------------------------------------------------------
    log_level: Annotated[str, Option(
        f"{RUNTIME}.log_level", LIVE,
        "What the daemon logs: from this level on.",
        choices=("trace", "debug", "info", "warn", "error", "fatal", "panic"),
    )] = "info"

    # -- [trilby.image] ----------------------------------------------------------------------
    default_transport: Annotated[str, Option(
        f"{IMAGE}.default_transport", LIVE,
        "What stands before image names that have no transport. Nothing else is possible: it is"
        " here for files that were CRI-O's.",
        choices=("docker://",),
    )] = "docker://"
    global_auth_file: Annotated[str, Option(
        f"{IMAGE}.global_auth_file", LIVE,
        "The auth.json for pulls that come without credentials. Empty: the usual places.",
        form=forms.absolute,
    )] = ""
    pinned_images: Annotated[tuple[str, ...], Option(
        f"{IMAGE}.pinned_images", LIVE,
        "Images that the kubelet does not remove to make room: a name, the beginning of names"
        " as `quay.io/base*`, or a part of names as `*pause*`.",
        form=forms.pin,
    )] = ()
    signature_policy: Annotated[str, Option(
        f"{IMAGE}.signature_policy", LIVE,
        "The policy.json: which images are accepted. Empty: the usual places.",
        form=forms.absolute,
    )] = ""
    signature_policy_dir: Annotated[str, Option(
        f"{IMAGE}.signature_policy_dir", LIVE,
        "Policies of namespaces, NAMESPACE.json, in place of that one for their pods. Empty:"
        " there are none.",
        form=forms.absolute,
    )] = "/etc/trilby/policies"
    registries_conf: Annotated[str, Option(
        f"{IMAGE}.registries_conf", LIVE,
        "The registries.conf. Empty: the usual places.",
        form=forms.absolute,
    )] = ""
    registries_conf_dir: Annotated[str, Option(
        f"{IMAGE}.registries_conf_dir", LIVE,
        "Directory of its drop-ins. Empty: the usual places.",
        form=forms.absolute,
    )] = ""
    registries_d: Annotated[str, Option(
        f"{IMAGE}.registries_d", LIVE,
        "Directory of files that say where signatures are. Empty: the usual places.",
        form=forms.absolute,
    )] = ""
    insecure_registries: Annotated[tuple[str, ...], Option(
        f"{IMAGE}.insecure_registries", LIVE,
        "Registries, host or host:port, whose certificates are not verified, and that may"
        " speak plain HTTP, besides those that registries.conf names.",
        form=forms.registry,
    )] = ()
    short_name_mode: Annotated[str, Option(
        f"{IMAGE}.short_name_mode", LIVE,
        "How names without a registry are understood. Empty: as registries.conf says.",
        choices=("", "enforcing", "permissive", "disabled"),
    )] = ""
    pull_progress_timeout: Annotated[float, Option(
        f"{IMAGE}.pull_progress_timeout", LIVE,
        "How long a pull may get no data before it is given up. 0: as long as the registry"
        " client waits.",
    )] = 0.0
    max_parallel_pulls: Annotated[int, Option(
        f"{IMAGE}.max_parallel_pulls", LIVE,
        "Images that are pulled at the same time; others wait. 0: any number.",
        lowest=0,
    )] = 0
    max_parallel_layers: Annotated[int, Option(
        f"{IMAGE}.max_parallel_layers", LIVE,
        "Layers of one image that are pulled at the same time.",
        lowest=1, highest=64,
    )] = 6
    big_files_temporary_dir: Annotated[str, Option(
        f"{IMAGE}.big_files_temporary_dir", LIVE,
        "Directory of large temporary files. Empty: TMPDIR, or /var/tmp.",
        form=forms.absolute,
    )] = ""

    # -- [trilby.metrics] --------------------------------------------------------------------
    enable_metrics: Annotated[bool, Option(
        f"{METRICS}.enable_metrics", RESTART,
        "Serve /metrics for Prometheus and /healthz, by HTTP, or by TLS with a certificate.",
    )] = False
    metrics_host: Annotated[str, Option(
        f"{METRICS}.metrics_host", RESTART,
        "Address of that server.",
        form=forms.address,
    )] = "127.0.0.1"
    metrics_port: Annotated[int, Option(
        f"{METRICS}.metrics_port", RESTART,
        "Its port. 0: any that is free.",
        kind=Kind.PORT,
    )] = 9090
    metrics_socket: Annotated[str, Option(
        f"{METRICS}.metrics_socket", RESTART,
        "A unix socket where the same is served without TLS. Empty: none.",
        form=forms.socket_or_none,
    )] = ""
    metrics_cert: Annotated[str, Option(
        f"{METRICS}.metrics_cert", RESTART,
        "The certificate, in PEM; its content is read again when the file changes. Empty: there"
        " is no TLS.",
        form=forms.absolute,
    )] = ""
    metrics_key: Annotated[str, Option(
        f"{METRICS}.metrics_key", RESTART,
        "The key of the certificate, in PEM.",
        form=forms.absolute,
    )] = ""
    metrics_collectors: Annotated[tuple[str, ...], Option(
        f"{METRICS}.metrics_collectors", LIVE,
        "Metrics that are served, by their names with or without prefix. Empty: all.",
    )] = ()

    # -- [trilby.stats] ----------------------------------------------------------------------
    stats_collection_period: Annotated[int, Option(
        f"{STATS}.collection_period", LIVE,
        "Seconds for which the figures of pods and containers are told again before they are"
        " read anew. 0: they are read for every caller.",
        lowest=0, highest=3600,
    )] = 0
    included_pod_metrics: Annotated[tuple[str, ...], Option(
        f"{STATS}.included_pod_metrics", LIVE,
        "What ListPodSandboxMetrics tells. Empty: nothing.",
        choices=POD_METRICS,
    )] = ("all",)

    # -- [trilby.tracing] --------------------------------------------------------------------
    enable_tracing: Annotated[bool, Option(
        f"{TRACING}.enable_tracing", RESTART,
        "Send traces to an OpenTelemetry collector.",
    )] = False
    tracing_endpoint: Annotated[str, Option(
        f"{TRACING}.tracing_endpoint", RESTART,
        "The collector, by OTLP over gRPC.",
        form=forms.endpoint,
    )] = "127.0.0.1:4317"
    tracing_sampling_rate_per_million: Annotated[int, Option(
        f"{TRACING}.tracing_sampling_rate_per_million", LIVE,
        "How many of a million calls are traced; those whose caller asks always are.",
        lowest=0, highest=1_000_000,
    )] = 0

    # -- [trilby.nri] ------------------------------------------------------------------------
    enable_nri: Annotated[bool, Option(
        f"{NRI}.enable_nri", RESTART,
        "Let plugins of the Node Resource Interface look at pods and containers and adjust"
        " them. Where its socket cannot be made, the daemon goes on without it.",
    )] = True
    nri_listen: Annotated[str, Option(
        f"{NRI}.nri_listen", RESTART,
        "The socket that plugins connect to. Who may is root on this host.",
        form=forms.socket,
    )] = "/var/run/nri/nri.sock"
    nri_disable_connections: Annotated[bool, Option(
        f"{NRI}.nri_disable_connections", RESTART,
        "Take only plugins that are installed, not those that connect.",
    )] = False
    nri_plugin_dir: Annotated[str, Option(
        f"{NRI}.nri_plugin_dir", RESTART,
        "Programs that are started as plugins, by the order of their names `NN-NAME`.",
        form=forms.path,
    )] = "/opt/nri/plugins"
    nri_plugin_config_dir: Annotated[str, Option(
        f"{NRI}.nri_plugin_config_dir", RESTART,
        "Their configurations, NN-NAME.conf or NAME.conf.",
        form=forms.path,
    )] = "/etc/nri/conf.d"
    nri_plugin_registration_timeout: Annotated[float, Option(
        f"{NRI}.nri_plugin_registration_timeout", RESTART,
        "How long a plugin may take to register, and to take in the state that there is.",
    )] = 5.0
    nri_plugin_request_timeout: Annotated[float, Option(
        f"{NRI}.nri_plugin_request_timeout", RESTART,
        "How long a plugin may take for a request; then it is disconnected, and the request"
        " goes on without it.",
    )] = 2.0

    # -- [trilby.nri.default_validator] ------------------------------------------------------
    nri_enable_default_validator: Annotated[bool, Option(
        f"{VALIDATOR}.nri_enable_default_validator", RESTART,
        "Look at what plugins have changed before a container is made, by the options here.",
    )] = False
    nri_validator_reject_oci_hook_adjustment: Annotated[bool, Option(
        f"{VALIDATOR}.nri_validator_reject_oci_hook_adjustment", RESTART,
        "Plugins may not add OCI hooks.",
    )] = False
    nri_validator_reject_runtime_default_seccomp_adjustment: Annotated[bool, Option(
        f"{VALIDATOR}.nri_validator_reject_runtime_default_seccomp_adjustment", RESTART,
        "Plugins may not replace the runtime's own seccomp profile.",
    )] = False
    nri_validator_reject_unconfined_seccomp_adjustment: Annotated[bool, Option(
        f"{VALIDATOR}.nri_validator_reject_unconfined_seccomp_adjustment", RESTART,
        "Plugins may not give a seccomp policy to containers that are to have none.",
    )] = False
    nri_validator_reject_custom_seccomp_adjustment: Annotated[bool, Option(
        f"{VALIDATOR}.nri_validator_reject_custom_seccomp_adjustment", RESTART,
        "Plugins may not replace the seccomp profiles of files.",
    )] = False
    nri_validator_reject_namespace_adjustment: Annotated[bool, Option(
        f"{VALIDATOR}.nri_validator_reject_namespace_adjustment", RESTART,
        "Plugins may not change namespaces.",
    )] = False
    nri_validator_required_plugins: Annotated[tuple[str, ...], Option(
        f"{VALIDATOR}.nri_validator_required_plugins", RESTART,
        "Plugins without which no container is made, besides those of a pod's annotation"
        " `required-plugins.noderesource.dev`.",
    )] = ()
    nri_validator_tolerate_missing_plugins_annotation: Annotated[str, Option(
        f"{VALIDATOR}.nri_validator_tolerate_missing_plugins_annotation", RESTART,
        "The annotation of pods that do without the required plugins. Empty: none do.",
    )] = ""
    # fmt: on

    def storage_config(self, env: Mapping[str, str] | None = None) -> "StorageConfig":
        """What the store is opened with: storage.conf, and what is said here over it.

        Raises StorageConfigError with ``path:line:``.
        """
        from trilby.storage.config import load_storage_config

        return load_storage_config(
            os.environ if env is None else env,
            root=self.root or None,
            runroot=self.runroot or None,
            driver=self.storage_driver or None,
            options=self.storage_option or None,
        )

    def image_context(self) -> "ImageContext":
        """What image operations are done with, where a caller brings no credentials."""
        from trilby.image.context import ImageContext

        return ImageContext(
            auth_file=self.global_auth_file or None,
            registries_conf=self.registries_conf or None,
            registries_conf_dir=self.registries_conf_dir or None,
            registries_d=self.registries_d or None,
            insecure_registries=self.insecure_registries,
            short_name_mode=self.short_name_mode or None,
            policy_path=self.signature_policy or None,
            parallel=self.max_parallel_layers,
            temp_dir=self.big_files_temporary_dir or None,
        )
