"""From a Pod manifest to the engine's configurations, as the kubelet translates it to the CRI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trilby.pods.manifest import schema
from trilby.pods.manifest.expand import expand
from trilby.pods.manifest.resources import (
    container_resources,
    machine_memory,
    pod_resources,
    qos_class,
    resource_field,
)
from trilby.pods.model_common import (
    NamespaceMode,
    NamespaceOptions,
    ProfileType,
    SecurityProfile,
    SELinuxOptions,
    SupplementalGroupsPolicy,
)
from trilby.pods.model_container import (
    Capabilities,
    ContainerConfig,
    ContainerSecurity,
    ImageSpec,
    Mount,
)
from trilby.pods.model_sandbox import (
    DNSConfig,
    PortMapping,
    Protocol,
    SandboxConfig,
    SandboxSecurity,
)

SECCOMP_ROOT = "/var/lib/kubelet/seccomp"


class PodFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pod only once it has a sandbox."""

    uid: str
    node: str
    host_ip: str
    ips: tuple[str, ...] = ()


def sandbox_config(
    pod: schema.Pod, *, uid: str, log_directory: str, host_dns: DNSConfig
) -> SandboxConfig:
    """The sandbox of a pod; ``host_dns`` is what the machine itself uses."""
    spec, meta = pod.spec, pod.metadata
    context = spec.security_context
    return SandboxConfig(
        name=meta.name,
        uid=uid,
        namespace=meta.namespace,
        hostname="" if spec.host_network else (spec.hostname or meta.name)[:63].rstrip("-."),
        log_directory=log_directory,
        dns=_dns(spec, host_dns),
        port_mappings=() if spec.host_network else _port_mappings(spec),
        labels={**meta.labels, **pod_labels(meta, uid)},
        annotations=meta.annotations,
        sysctls={each.name: each.value for each in context.sysctls},
        security=SandboxSecurity(
            namespaces=_namespaces(spec),
            privileged=any(
                each.security_context.privileged
                for each in (*spec.init_containers, *spec.containers)
            ),
            run_as_user=context.run_as_user,
            run_as_group=context.run_as_group,
            supplemental_groups=_groups(context),
            selinux=_selinux(context.se_linux_options),
            seccomp=_seccomp(context.seccomp_profile),
        ),
        resources=pod_resources(spec),
        runtime_handler=spec.runtime_class_name,
    )


def pod_labels(meta: schema.ObjectMeta, uid: str) -> dict[str, str]:
    """The labels by which every CRI tool finds a pod."""
    return {
        "io.kubernetes.pod.name": meta.name,
        "io.kubernetes.pod.namespace": meta.namespace,
        "io.kubernetes.pod.uid": uid,
    }


def container_config(
    pod: schema.Pod,
    container: schema.Container,
    facts: PodFacts,
    *,
    attempt: int,
    image_id: str,
    mounts: Sequence[Mount],
) -> ContainerConfig:
    """One try of a container; ``mounts`` are its volumes, already prepared on the host.

    Raises:
        ValueError: a ``fieldRef`` or ``resourceFieldRef`` that names nothing.
    """
    variables = environment(pod, container, facts)
    stop_signal = container.lifecycle.stop_signal if container.lifecycle else ""
    return ContainerConfig(
        name=container.name,
        attempt=attempt,
        image=ImageSpec(image=image_id, user_specified=container.image),
        command=tuple(expand(text, variables) for text in container.command),
        args=tuple(expand(text, variables) for text in container.args),
        working_dir=container.working_dir,
        envs=tuple(variables.items()),
        mounts=tuple(mounts),
        labels={
            **pod_labels(pod.metadata, facts.uid),
            "io.kubernetes.container.name": container.name,
        },
        annotations={"io.kubernetes.container.restartCount": str(attempt)},
        log_path=f"{container.name}/{attempt}.log",
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        resources=container_resources(container, qos_class(pod.spec), machine_memory()),
        security=_security(pod.spec, container.security_context),
        stop_signal=stop_signal,
    )


def environment(pod: schema.Pod, container: schema.Container, facts: PodFacts) -> dict[str, str]:
    """A container's variables in order, each expanded with those before it."""
    variables: dict[str, str] = {}
    for each in container.env:
        source = each.value_from
        if source is None:
            variables[each.name] = expand(each.value, variables)
        elif source.field_ref is not None:
            variables[each.name] = field(pod, source.field_ref.field_path, facts)
        elif source.resource_field_ref is not None:
            selector = source.resource_field_ref
            variables[each.name] = resource_field(_named(pod, container, selector), selector)
    return variables


def field(pod: schema.Pod, path: str, facts: PodFacts) -> str:
    """What the downward API gives for a field path.

    Raises:
        ValueError: it has no such field.
    """
    meta = pod.metadata
    simple = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": facts.uid,
        "spec.nodeName": facts.node,
        "spec.serviceAccountName": "default",
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "status.podIP": facts.ips[0] if facts.ips else facts.host_ip,
        "status.podIPs": ",".join(facts.ips or (facts.host_ip,)),
    }
    if path in simple:
        return simple[path]
    tables: Mapping[str, Mapping[str, str]] = {
        "metadata.labels": meta.labels,
        "metadata.annotations": meta.annotations,
    }
    table, bracket, rest = path.partition("[")
    if table in tables and bracket and rest.endswith("]"):
        return tables[table].get(rest[:-1].strip("'\""), "")
    raise ValueError(f"fieldPath {path!r} names no field; there are {', '.join(simple)}")


def _named(
    pod: schema.Pod, container: schema.Container, selector: schema.ResourceFieldSelector
) -> schema.Container:
    if not selector.container_name:
        return container
    for each in (*pod.spec.init_containers, *pod.spec.containers):
        if each.name == selector.container_name:
            return each
    raise ValueError(f"resourceFieldRef names no container {selector.container_name!r}")


def _namespaces(spec: schema.PodSpec) -> NamespaceOptions:
    pid = NamespaceMode.CONTAINER
    if spec.host_pid:
        pid = NamespaceMode.NODE
    elif spec.share_process_namespace:
        pid = NamespaceMode.POD
    return NamespaceOptions(
        network=NamespaceMode.NODE if spec.host_network else NamespaceMode.POD,
        pid=pid,
        ipc=NamespaceMode.NODE if spec.host_ipc else NamespaceMode.POD,
    )


def _port_mappings(spec: schema.PodSpec) -> tuple[PortMapping, ...]:
    sidecars = [each for each in spec.init_containers if each.restart_policy == "Always"]
    return tuple(
        PortMapping(
            container_port=port.container_port,
            host_port=port.host_port,
            host_ip=port.host_ip,
            protocol=Protocol(port.protocol),
        )
        for container in (*sidecars, *spec.containers)
        for port in container.ports
        if port.host_port
    )


def _dns(spec: schema.PodSpec, host: DNSConfig) -> DNSConfig | None:
    """There is no cluster DNS here, so ClusterFirst is the machine's own, as Default is."""
    extra = spec.dns_config or schema.PodDnsConfig()
    options = [
        option.name if option.value is None else f"{option.name}:{option.value}"
        for option in extra.options
    ]
    if spec.dns_policy == "None":
        host = DNSConfig()
    elif spec.dns_config is None:
        return None
    return DNSConfig(
        servers=tuple(dict.fromkeys((*host.servers, *extra.nameservers))),
        searches=tuple(dict.fromkeys((*host.searches, *extra.searches))),
        options=tuple(dict.fromkeys((*host.options, *options))),
    )


def _groups(context: schema.PodSecurityContext) -> tuple[int, ...]:
    extra = () if context.fs_group is None else (context.fs_group,)
    return (*context.supplemental_groups, *extra)


def _security(spec: schema.PodSpec, own: schema.SecurityContext) -> ContainerSecurity:
    """The container's own settings, and the pod's where it has none."""
    pod = spec.security_context
    user = pod.run_as_user if own.run_as_user is None else own.run_as_user
    group = pod.run_as_group if own.run_as_group is None else own.run_as_group
    change = own.capabilities or schema.CapabilityChange()
    unmasked = own.proc_mount == "Unmasked"
    return ContainerSecurity(
        capabilities=Capabilities(add=tuple(change.add), drop=tuple(change.drop)),
        privileged=own.privileged,
        namespaces=_namespaces(spec),
        selinux=_selinux(own.se_linux_options or pod.se_linux_options),
        run_as_user=user,
        run_as_group=group,
        supplemental_groups=_groups(pod),
        supplemental_groups_policy=SupplementalGroupsPolicy(pod.supplemental_groups_policy),
        readonly_rootfs=own.read_only_root_filesystem,
        no_new_privs=own.allow_privilege_escalation is False,
        masked_paths=() if unmasked else None,
        readonly_paths=() if unmasked else None,
        seccomp=None if own.privileged else _seccomp(own.seccomp_profile or pod.seccomp_profile),
        apparmor=_apparmor(own.app_armor_profile or pod.app_armor_profile),
    )


def _selinux(options: schema.SELinuxOptions | None) -> SELinuxOptions | None:
    if options is None:
        return None
    return SELinuxOptions(
        user=options.user, role=options.role, type=options.type, level=options.level
    )


def _seccomp(profile: schema.SeccompProfile | None) -> SecurityProfile:
    """Without a word the runtime's default, as podman has it: safer than the kubelet's none."""
    if profile is None:
        return SecurityProfile(type=ProfileType.RUNTIME_DEFAULT)
    path = profile.localhost_profile
    if path and not path.startswith("/"):
        path = f"{SECCOMP_ROOT}/{path}"
    return SecurityProfile(type=ProfileType(profile.type), localhost_ref=path)


def _apparmor(profile: schema.AppArmorProfile | None) -> SecurityProfile | None:
    if profile is None:
        return None
    return SecurityProfile(type=ProfileType(profile.type), localhost_ref=profile.localhost_profile)
