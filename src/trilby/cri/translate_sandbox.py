"""PodSandboxConfig to the engine's form, and the engine's sandboxes to what is listed."""

from __future__ import annotations

from typing import Final

from trilby.cri import translate_common as common
from trilby.cri.errors import InvalidRequest
from trilby.cri.proto import common_pb2
from trilby.cri.proto import sandbox_pb2 as pb
from trilby.pods import model_sandbox as model
from trilby.pods.model_status import SandboxState, SandboxStatus

PROTOCOLS: Final = {
    common_pb2.TCP: model.Protocol.TCP,
    common_pb2.UDP: model.Protocol.UDP,
    common_pb2.SCTP: model.Protocol.SCTP,
}
STATES: Final = {
    SandboxState.READY: pb.SANDBOX_READY,
    SandboxState.NOTREADY: pb.SANDBOX_NOTREADY,
}


def sandbox_config(
    config: pb.PodSandboxConfig, handler: str, default_logs: str = ""
) -> model.SandboxConfig:
    """Raises InvalidRequest for what is missing or has no meaning.

    ``default_logs`` is the parent of the log directory of a sandbox that names none.
    """
    metadata = config.metadata
    if not metadata.name or not metadata.uid or not metadata.namespace:
        raise InvalidRequest("config.metadata: name, uid and namespace have to be given")
    if config.log_directory and not config.log_directory.startswith("/"):
        raise InvalidRequest(f"config.log_directory: {config.log_directory!r} is not absolute")
    linux = config.linux
    folder = f"{metadata.namespace}_{metadata.name}_{metadata.uid}"
    return model.SandboxConfig(
        name=metadata.name,
        uid=metadata.uid,
        namespace=metadata.namespace,
        attempt=metadata.attempt,
        hostname=config.hostname,
        log_directory=config.log_directory or (f"{default_logs}/{folder}" if default_logs else ""),
        dns=model.DNSConfig(
            servers=tuple(config.dns_config.servers),
            searches=tuple(config.dns_config.searches),
            options=tuple(config.dns_config.options),
        ),
        port_mappings=tuple(map(_port, config.port_mappings)),
        labels=common.labels(config.labels, "config.labels"),
        annotations=dict(config.annotations),
        cgroup_parent=linux.cgroup_parent,
        sysctls=dict(linux.sysctls),
        security=_security(linux.security_context),
        overhead=common.resources(linux.overhead) if linux.HasField("overhead") else None,
        resources=common.resources(linux.resources) if linux.HasField("resources") else None,
        runtime_handler=handler,
    )


def _port(port: common_pb2.PortMapping) -> model.PortMapping:
    protocol = PROTOCOLS.get(port.protocol)
    if protocol is None:
        raise InvalidRequest(f"port_mappings: {port.protocol} is no protocol")
    return model.PortMapping(
        container_port=port.container_port,
        host_port=port.host_port,
        host_ip=port.host_ip,
        protocol=protocol,
    )


def _security(context: pb.LinuxSandboxSecurityContext) -> model.SandboxSecurity:
    if context.HasField("run_as_group") and not context.HasField("run_as_user"):
        raise InvalidRequest("security_context: run_as_group is given without run_as_user")
    return model.SandboxSecurity(
        namespaces=common.namespace_options(context.namespace_options),
        privileged=context.privileged,
        run_as_user=common.optional_int(context.run_as_user, given=context.HasField("run_as_user")),
        run_as_group=common.optional_int(
            context.run_as_group, given=context.HasField("run_as_group")
        ),
        supplemental_groups=tuple(context.supplemental_groups),
        supplemental_groups_policy=common.groups_policy(context.supplemental_groups_policy),
        readonly_rootfs=context.readonly_rootfs,
        selinux=common.selinux(context.selinux_options, given=context.HasField("selinux_options")),
        seccomp=common.profile(
            context.seccomp,
            given=context.HasField("seccomp"),
            old=context.seccomp_profile_path,
        ),
        apparmor=common.profile(context.apparmor, given=context.HasField("apparmor"), old=""),
    )


def metadata_message(status: SandboxStatus) -> pb.PodSandboxMetadata:
    return pb.PodSandboxMetadata(
        name=status.name, uid=status.uid, namespace=status.namespace, attempt=status.attempt
    )


def listed(status: SandboxStatus) -> pb.PodSandbox:
    """One line of ListPodSandbox."""
    return pb.PodSandbox(
        id=status.id,
        metadata=metadata_message(status),
        state=STATES[status.state],
        created_at=status.created_at,
        labels=status.labels,
        annotations=status.annotations,
        runtime_handler=status.runtime_handler,
    )


def status_message(status: SandboxStatus) -> pb.PodSandboxStatus:
    """All that is known of a sandbox; host network has no addresses of its own."""
    first, rest = status.ips[:1], status.ips[1:]
    return pb.PodSandboxStatus(
        id=status.id,
        metadata=metadata_message(status),
        state=STATES[status.state],
        created_at=status.created_at,
        network=pb.PodSandboxNetworkStatus(
            ip=first[0] if first else "", additional_ips=[pb.PodIP(ip=ip) for ip in rest]
        ),
        linux=pb.LinuxPodSandboxStatus(
            namespaces=pb.Namespace(options=common.namespace_options_message(status.namespaces))
        ),
        labels=status.labels,
        annotations=status.annotations,
        runtime_handler=status.runtime_handler,
    )
