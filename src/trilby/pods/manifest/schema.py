"""The fields of a v1 Pod that the embedded engine honours, as typed data.

Names and types are those of the Kubernetes API (core/v1). A field that is not here is either
named in ``fields.py`` (known to Kubernetes, not honoured: a warning) or unknown (an error).
"""

from __future__ import annotations

import msgspec

IntOrString = int | str
Quantity = int | float | str


class Record(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Base of all manifest types."""


class ObjectMeta(Record, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = "default"
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class KeyPath(Record, frozen=True, kw_only=True):
    api_version: str = "v1"
    field_path: str = ""


class ResourceFieldSelector(Record, frozen=True, kw_only=True):
    resource: str
    container_name: str = ""
    divisor: Quantity = "0"


class EnvVarSource(Record, frozen=True, kw_only=True):
    field_ref: KeyPath | None = None
    resource_field_ref: ResourceFieldSelector | None = None


class EnvVar(Record, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class ContainerPort(Record, frozen=True, kw_only=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = msgspec.field(name="hostIP", default="")


class VolumeMount(Record, frozen=True, kw_only=True):
    name: str
    mount_path: str
    read_only: bool = False
    recursive_read_only: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: str = ""


class ResourceRequirements(Record, frozen=True, kw_only=True):
    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}


class ExecAction(Record, frozen=True, kw_only=True):
    command: list[str] = []


class HttpHeader(Record, frozen=True, kw_only=True):
    name: str
    value: str


class HttpGetAction(Record, frozen=True, kw_only=True):
    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: list[HttpHeader] = []


class TcpSocketAction(Record, frozen=True, kw_only=True):
    port: IntOrString
    host: str = ""


class SleepAction(Record, frozen=True, kw_only=True):
    seconds: int


class Handler(Record, frozen=True, kw_only=True):
    """One of its fields; which ones a place allows is checked by validate.py."""

    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    sleep: SleepAction | None = None


class Probe(Record, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class Lifecycle(Record, frozen=True, kw_only=True):
    post_start: Handler | None = None
    pre_stop: Handler | None = None
    stop_signal: str = ""


class CapabilityChange(Record, frozen=True, kw_only=True):
    add: list[str] = []
    drop: list[str] = []


class SeccompProfile(Record, frozen=True, kw_only=True):
    type: str
    localhost_profile: str = ""


class AppArmorProfile(Record, frozen=True, kw_only=True):
    type: str
    localhost_profile: str = ""


class SELinuxOptions(Record, frozen=True, kw_only=True):
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class SecurityContext(Record, frozen=True, kw_only=True):
    capabilities: CapabilityChange | None = None
    privileged: bool = False
    se_linux_options: SELinuxOptions | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    proc_mount: str = "Default"
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class Sysctl(Record, frozen=True, kw_only=True):
    name: str
    value: str


class PodSecurityContext(Record, frozen=True, kw_only=True):
    se_linux_options: SELinuxOptions | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: list[int] = []
    supplemental_groups_policy: str = "Merge"
    fs_group: int | None = None
    sysctls: list[Sysctl] = []
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class Container(Record, frozen=True, kw_only=True):
    name: str
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    ports: list[ContainerPort] = []
    env: list[EnvVar] = []
    resources: ResourceRequirements = ResourceRequirements()
    restart_policy: str = ""
    volume_mounts: list[VolumeMount] = []
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = "/dev/termination-log"
    image_pull_policy: str = ""
    security_context: SecurityContext = SecurityContext()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


class EmptyDir(Record, frozen=True, kw_only=True):
    medium: str = ""
    size_limit: Quantity | None = None


class HostPath(Record, frozen=True, kw_only=True):
    path: str
    type: str = ""


class ImageVolume(Record, frozen=True, kw_only=True):
    reference: str
    pull_policy: str = ""


class Volume(Record, frozen=True, kw_only=True):
    name: str
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    image: ImageVolume | None = None


class HostAlias(Record, frozen=True, kw_only=True):
    ip: str
    hostnames: list[str] = []


class PodDnsOption(Record, frozen=True, kw_only=True):
    name: str
    value: str | None = None


class PodDnsConfig(Record, frozen=True, kw_only=True):
    nameservers: list[str] = []
    searches: list[str] = []
    options: list[PodDnsOption] = []


class PodSpec(Record, frozen=True, kw_only=True):
    containers: list[Container]
    init_containers: list[Container] = []
    volumes: list[Volume] = []
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    dns_config: PodDnsConfig | None = None
    host_network: bool = False
    host_pid: bool = msgspec.field(name="hostPID", default=False)
    host_ipc: bool = msgspec.field(name="hostIPC", default=False)
    host_users: bool = True
    share_process_namespace: bool = False
    security_context: PodSecurityContext = PodSecurityContext()
    hostname: str = ""
    host_aliases: list[HostAlias] = []
    runtime_class_name: str = ""


class Pod(Record, frozen=True, kw_only=True):
    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: PodSpec
