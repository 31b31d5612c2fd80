"""Rules of the Kubernetes API for the values of a Pod, beyond their types.

Each function yields findings; none stops at the first, so that one run shows all mistakes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from trilby.pods.manifest import schema
from trilby.pods.manifest.document import Document
from trilby.pods.manifest.errors import Problem
from trilby.pods.manifest.quantity import parse_quantity
from trilby.pods.manifest.translate import PodFacts, environment

Findings = Iterator[tuple[str, str]]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_ENV_NAME = re.compile(r"[^=\x00-\x1f\x7f]+")
_RESOURCES = re.compile(r"cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i")

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
PROPAGATIONS = ("None", "HostToContainer", "Bidirectional")
HOST_PATH_TYPES = (
    "DirectoryOrCreate Directory FileOrCreate File Socket CharDevice BlockDevice".split()
)
PROFILE_TYPES = ("RuntimeDefault", "Unconfined", "Localhost")


def validate_pod(pod: schema.Pod, document: Document) -> list[Problem]:
    """Every rule that ``pod`` breaks, at its place in ``document``."""
    findings = [*_metadata(pod.metadata), *_spec(pod.spec)]
    return [document.problem(path, message) for path, message in findings]


def _one_of(path: str, value: str, allowed: Iterable[str], *, empty: bool = True) -> Findings:
    choices = list(allowed)
    if value not in choices and not (empty and value == ""):
        yield path, f"{value!r} is not one of {', '.join(choices)}"


def _label(path: str, value: str) -> Findings:
    if not _LABEL.fullmatch(value):
        yield (
            path,
            f"{value!r} is not a DNS label: lower case letters, digits and '-', at most 63",
        )


def _at_least(path: str, value: int | None, least: int) -> Findings:
    if value is not None and value < least:
        yield path, f"must be at least {least}, not {value}"


def _metadata(meta: schema.ObjectMeta) -> Findings:
    if not meta.name:
        yield "metadata.name", "is required"
    elif len(meta.name) > 253 or not _SUBDOMAIN.fullmatch(meta.name):
        yield "metadata.name", f"{meta.name!r} is not a lower case DNS name of at most 253"
    yield from _label("metadata.namespace", meta.namespace)
    if meta.uid and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", meta.uid):
        yield "metadata.uid", "must be letters, digits and '-'"


def _spec(spec: schema.PodSpec) -> Findings:
    if not spec.containers:
        yield "spec.containers", "at least one container is required"
    yield from _one_of("spec.restartPolicy", spec.restart_policy, RESTART_POLICIES)
    yield from _one_of(
        "spec.dnsPolicy",
        spec.dns_policy,
        ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    )
    if spec.dns_policy == "None" and not (spec.dns_config and spec.dns_config.nameservers):
        yield "spec.dnsConfig", "needs nameservers with dnsPolicy None"
    if spec.hostname:
        yield from _label("spec.hostname", spec.hostname)
    grace = "spec.terminationGracePeriodSeconds"
    yield from _at_least(grace, spec.termination_grace_period_seconds, 0)
    yield from _at_least("spec.activeDeadlineSeconds", spec.active_deadline_seconds, 1)
    if spec.host_pid and spec.share_process_namespace:
        yield "spec.shareProcessNamespace", "contradicts hostPID"
    if not spec.host_users:
        yield "spec.hostUsers", "false is not supported by the embedded engine"
    for index, alias in enumerate(spec.host_aliases):
        yield from _ip(f"spec.hostAliases[{index}].ip", alias.ip)
    yield from _pod_security(spec.security_context)
    yield from _volumes(spec)
    names: dict[str, str] = {}
    for kind, containers in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
    ):
        for index, container in enumerate(containers):
            path = f"spec.{kind}[{index}]"
            yield from _container(path, container, spec, init=kind == "initContainers")
            if container.name in names:
                yield f"{path}.name", f"{container.name!r} is also {names[container.name]}"
            names[container.name] = path
    yield from _host_ports(spec)


def _ip(path: str, text: str) -> Findings:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield path, f"{text!r} is not an IP address"


def _pod_security(context: schema.PodSecurityContext) -> Findings:
    path = "spec.securityContext"
    for name, value in (
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
        ("fsGroup", context.fs_group),
    ):
        yield from _at_least(f"{path}.{name}", value, 0)
    yield from _one_of(
        f"{path}.supplementalGroupsPolicy",
        context.supplemental_groups_policy,
        ("Merge", "Strict"),
    )
    yield from _profile(f"{path}.seccompProfile", context.seccomp_profile)
    yield from _profile(f"{path}.appArmorProfile", context.app_armor_profile)


def _profile(path: str, profile: schema.SeccompProfile | schema.AppArmorProfile | None) -> Findings:
    if profile is None:
        return
    yield from _one_of(f"{path}.type", profile.type, PROFILE_TYPES, empty=False)
    if (profile.type == "Localhost") != bool(profile.localhost_profile):
        yield f"{path}.localhostProfile", "is needed with type Localhost and only then"


def _volumes(spec: schema.PodSpec) -> Findings:
    seen: set[str] = set()
    for index, volume in enumerate(spec.volumes):
        path = f"spec.volumes[{index}]"
        yield from _label(f"{path}.name", volume.name)
        if volume.name in seen:
            yield f"{path}.name", f"a second volume named {volume.name!r}"
        seen.add(volume.name)
        sources = [volume.empty_dir, volume.host_path, volume.image]
        given = sum(source is not None for source in sources)
        if given != 1:
            yield path, f"needs exactly one of emptyDir, hostPath, image; it has {given}"
        if volume.empty_dir:
            yield from _one_of(f"{path}.emptyDir.medium", volume.empty_dir.medium, ["Memory"])
            if volume.empty_dir.size_limit is not None:
                yield from _quantity(f"{path}.emptyDir.sizeLimit", volume.empty_dir.size_limit)
        if volume.host_path:
            if not volume.host_path.path.startswith("/"):
                yield f"{path}.hostPath.path", "must be absolute"
            if ".." in volume.host_path.path.split("/"):
                yield f"{path}.hostPath.path", "must not contain '..'"
            yield from _one_of(f"{path}.hostPath.type", volume.host_path.type, HOST_PATH_TYPES)
        if volume.image:
            yield from _one_of(f"{path}.image.pullPolicy", volume.image.pull_policy, PULL_POLICIES)


def _quantity(path: str, value: schema.Quantity) -> Findings:
    try:
        if parse_quantity(value) < 0:
            yield path, "must not be negative"
    except ValueError as error:
        yield path, str(error)


def _container(
    path: str, container: schema.Container, spec: schema.PodSpec, *, init: bool
) -> Findings:
    yield from _label(f"{path}.name", container.name)
    if not container.image:
        yield f"{path}.image", "is required"
    yield from _one_of(f"{path}.imagePullPolicy", container.image_pull_policy, PULL_POLICIES)
    if container.restart_policy and not (init and container.restart_policy == "Always"):
        yield f"{path}.restartPolicy", "only an init container may have one, and only Always"
    sidecar = container.restart_policy == "Always"
    if init and not sidecar:
        for name, probe in _probes(container):
            if probe is not None:
                yield f"{path}.{name}", "an init container may not have it"
        if container.lifecycle:
            yield f"{path}.lifecycle", "an init container may not have it"
    for index, variable in enumerate(container.env):
        yield from _env(f"{path}.env[{index}]", variable, container, spec)
    yield from _ports(path, container)
    yield from _mounts(path, container, spec)
    yield from _resources(f"{path}.resources", container.resources)
    yield from _security(f"{path}.securityContext", container.security_context)
    for name, probe in _probes(container):
        if probe is not None:
            yield from _probe(f"{path}.{name}", name, probe, container)
    if container.lifecycle:
        for name, handler in (
            ("postStart", container.lifecycle.post_start),
            ("preStop", container.lifecycle.pre_stop),
        ):
            if handler is not None:
                yield from _handler(f"{path}.lifecycle.{name}", handler, container)
    if container.stdin_once and not container.stdin:
        yield f"{path}.stdinOnce", "needs stdin: true"


def _probes(container: schema.Container) -> list[tuple[str, schema.Probe | None]]:
    return [
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ]


def _env(
    path: str, variable: schema.EnvVar, container: schema.Container, spec: schema.PodSpec
) -> Findings:
    if not _ENV_NAME.fullmatch(variable.name):
        yield f"{path}.name", f"{variable.name!r} is not a name for a variable"
    source = variable.value_from
    if source is None:
        return
    if variable.value:
        yield path, "has both value and valueFrom"
    if (source.field_ref is None) == (source.resource_field_ref is None):
        yield f"{path}.valueFrom", "needs exactly one of fieldRef and resourceFieldRef"
        return
    pod = schema.Pod(api_version="v1", kind="Pod", metadata=schema.ObjectMeta(), spec=spec)
    alone = msgspec.structs.replace(container, env=[variable])
    try:
        environment(pod, alone, PodFacts(uid="", node="", host_ip=""))
    except ValueError as error:
        kind = "fieldRef.fieldPath" if source.field_ref else "resourceFieldRef"
        yield f"{path}.valueFrom.{kind}", str(error)


def _ports(path: str, container: schema.Container) -> Findings:
    names: set[str] = set()
    for index, port in enumerate(container.ports):
        here = f"{path}.ports[{index}]"
        if not 1 <= port.container_port <= 65535:
            yield f"{here}.containerPort", "must be 1 to 65535"
        if not 0 <= port.host_port <= 65535:
            yield f"{here}.hostPort", "must be 1 to 65535"
        yield from _one_of(f"{here}.protocol", port.protocol, ("TCP", "UDP", "SCTP"))
        if port.host_ip:
            yield from _ip(f"{here}.hostIP", port.host_ip)
        if port.name:
            if len(port.name) > 15 or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", port.name):
                yield f"{here}.name", f"{port.name!r} is not a port name of at most 15 characters"
            if port.name in names:
                yield f"{here}.name", f"a second port named {port.name!r}"
            names.add(port.name)


def _host_ports(spec: schema.PodSpec) -> Findings:
    used: dict[tuple[int, str, str], str] = {}
    for index, container in enumerate(spec.containers):
        for number, port in enumerate(container.ports):
            path = f"spec.containers[{index}].ports[{number}]"
            if spec.host_network and port.host_port not in (0, port.container_port):
                yield f"{path}.hostPort", "must equal containerPort with hostNetwork"
            if not port.host_port:
                continue
            key = (port.host_port, port.protocol, port.host_ip)
            if key in used:
                yield f"{path}.hostPort", f"{port.host_port} is taken by {used[key]}"
            used[key] = path


def _mounts(path: str, container: schema.Container, spec: schema.PodSpec) -> Findings:
    volumes = {volume.name: volume for volume in spec.volumes}
    targets: set[str] = set()
    for index, mount in enumerate(container.volume_mounts):
        here = f"{path}.volumeMounts[{index}]"
        if mount.name not in volumes:
            known = ", ".join(sorted(volumes)) or "none"
            yield f"{here}.name", f"no volume {mount.name!r} in spec.volumes (there: {known})"
        if not mount.mount_path.startswith("/"):
            yield f"{here}.mountPath", "must be absolute"
        if mount.mount_path in targets:
            yield f"{here}.mountPath", f"{mount.mount_path} is mounted twice"
        targets.add(mount.mount_path)
        yield from _one_of(f"{here}.mountPropagation", mount.mount_propagation, PROPAGATIONS)
        recursive = mount.recursive_read_only
        yield from _one_of(
            f"{here}.recursiveReadOnly", recursive, ("Disabled", "IfPossible", "Enabled")
        )
        if recursive == "Enabled" and not mount.read_only:
            yield f"{here}.recursiveReadOnly", "needs readOnly: true"
        for name, sub in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
            if sub.startswith("/") or ".." in sub.split("/"):
                yield f"{here}.{name}", "must be relative and without '..'"
        if mount.sub_path and mount.sub_path_expr:
            yield f"{here}.subPathExpr", "cannot be combined with subPath"


def _resources(path: str, resources: schema.ResourceRequirements) -> Findings:
    for kind, table in (("limits", resources.limits), ("requests", resources.requests)):
        for name, value in table.items():
            here = f"{path}.{kind}.{name}"
            if not _RESOURCES.fullmatch(name):
                yield here, "unknown resource; known are cpu, memory, hugepages-<size>"
            yield from _quantity(here, value)
    for name in resources.limits.keys() & resources.requests.keys():
        try:
            over = parse_quantity(resources.requests[name]) > parse_quantity(resources.limits[name])
        except ValueError:
            continue
        if over:
            yield f"{path}.requests.{name}", "is more than the limit"


def _security(path: str, context: schema.SecurityContext) -> Findings:
    yield from _at_least(f"{path}.runAsUser", context.run_as_user, 0)
    yield from _at_least(f"{path}.runAsGroup", context.run_as_group, 0)
    yield from _one_of(f"{path}.procMount", context.proc_mount, ("Default", "Unmasked"))
    yield from _profile(f"{path}.seccompProfile", context.seccomp_profile)
    yield from _profile(f"{path}.appArmorProfile", context.app_armor_profile)
    if context.privileged and context.allow_privilege_escalation is False:
        yield f"{path}.allowPrivilegeEscalation", "false contradicts privileged: true"


def _probe(path: str, kind: str, probe: schema.Probe, container: schema.Container) -> Findings:
    handler = schema.Handler(exec=probe.exec, http_get=probe.http_get, tcp_socket=probe.tcp_socket)
    yield from _handler(path, handler, container)
    for name, value, least in (
        ("initialDelaySeconds", probe.initial_delay_seconds, 0),
        ("timeoutSeconds", probe.timeout_seconds, 1),
        ("periodSeconds", probe.period_seconds, 1),
        ("successThreshold", probe.success_threshold, 1),
        ("failureThreshold", probe.failure_threshold, 1),
    ):
        yield from _at_least(f"{path}.{name}", value, least)
    if kind != "readinessProbe" and probe.success_threshold != 1:
        yield f"{path}.successThreshold", "must be 1 for this probe"


def _handler(path: str, handler: schema.Handler, container: schema.Container) -> Findings:
    given = [
        action
        for action in (handler.exec, handler.http_get, handler.tcp_socket, handler.sleep)
        if action is not None
    ]
    if len(given) != 1:
        yield path, f"needs exactly one action (exec, httpGet, tcpSocket); it has {len(given)}"
    if handler.exec is not None and not handler.exec.command:
        yield f"{path}.exec.command", "is required"
    check: Callable[[str, schema.IntOrString], Findings]
    for name, action in (("httpGet", handler.http_get), ("tcpSocket", handler.tcp_socket)):
        if action is not None:
            check = _port_reference(container)
            yield from check(f"{path}.{name}.port", action.port)
    if handler.http_get is not None:
        yield from _one_of(f"{path}.httpGet.scheme", handler.http_get.scheme, ("HTTP", "HTTPS"))
    if handler.sleep is not None:
        yield from _at_least(f"{path}.sleep.seconds", handler.sleep.seconds, 0)


def _port_reference(
    container: schema.Container,
) -> Callable[[str, schema.IntOrString], Findings]:
    names = {port.name for port in container.ports if port.name}

    def check(path: str, port: schema.IntOrString) -> Findings:
        if isinstance(port, int):
            if not 1 <= port <= 65535:
                yield path, "must be 1 to 65535"
        elif not port.isdigit() and port not in names:
            known = ", ".join(sorted(names)) or "none"
            yield path, f"the container has no port named {port!r} (named: {known})"

    return check
