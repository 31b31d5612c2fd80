"""What the engine is asked for, as the CRI's messages: translate_sandbox and translate_container
backwards."""

from __future__ import annotations

from typing import Final

from trilby.cri import translate_common as common
from trilby.cri import translate_container as container
from trilby.cri import translate_sandbox as sandbox
from trilby.cri.proto import common_pb2, container_pb2, runtime_pb2, sandbox_pb2
from trilby.pods import model_common as model
from trilby.pods.model_container import (
    Capabilities,
    ContainerConfig,
    ContainerSecurity,
    ImageSpec,
    Mount,
)
from trilby.pods.model_sandbox import SandboxConfig, SandboxSecurity
from trilby.pods.spec.masks import MASKED_PATHS, READONLY_PATHS

PROTOCOLS: Final = {protocol: number for number, protocol in sandbox.PROTOCOLS.items()}
PROFILES: Final = {
    model.ProfileType.RUNTIME_DEFAULT: common_pb2.SecurityProfile.RuntimeDefault,
    model.ProfileType.UNCONFINED: common_pb2.SecurityProfile.Unconfined,
    model.ProfileType.LOCALHOST: common_pb2.SecurityProfile.Localhost,
}
GROUPS: Final = {
    model.SupplementalGroupsPolicy.MERGE: common_pb2.Merge,
    model.SupplementalGroupsPolicy.STRICT: common_pb2.Strict,
}


def run_request(config: SandboxConfig) -> sandbox_pb2.RunPodSandboxRequest:
    """RunPodSandbox."""
    return sandbox_pb2.RunPodSandboxRequest(
        config=sandbox_message(config), runtime_handler=config.runtime_handler
    )


def sandbox_message(config: SandboxConfig) -> sandbox_pb2.PodSandboxConfig:
    """PodSandboxConfig; the handler is not in it."""
    message = sandbox_pb2.PodSandboxConfig(
        metadata=sandbox_pb2.PodSandboxMetadata(
            name=config.name, uid=config.uid, namespace=config.namespace, attempt=config.attempt
        ),
        hostname=config.hostname,
        log_directory=config.log_directory,
        port_mappings=[
            common_pb2.PortMapping(
                protocol=PROTOCOLS[port.protocol],
                container_port=port.container_port,
                host_port=port.host_port,
                host_ip=port.host_ip,
            )
            for port in config.port_mappings
        ],
        labels=config.labels,
        annotations=config.annotations,
        linux=sandbox_pb2.LinuxPodSandboxConfig(
            cgroup_parent=config.cgroup_parent,
            sysctls=config.sysctls,
            security_context=_sandbox_security(config.security),
        ),
    )
    if config.dns is not None:
        message.dns_config.servers.extend(config.dns.servers)
        message.dns_config.searches.extend(config.dns.searches)
        message.dns_config.options.extend(config.dns.options)
    if config.overhead is not None:
        message.linux.overhead.CopyFrom(common.resources_message(config.overhead))
    if config.resources is not None:
        message.linux.resources.CopyFrom(common.resources_message(config.resources))
    return message


def _sandbox_security(security: SandboxSecurity) -> sandbox_pb2.LinuxSandboxSecurityContext:
    return sandbox_pb2.LinuxSandboxSecurityContext(
        namespace_options=common.namespace_options_message(security.namespaces),
        selinux_options=_selinux(security.selinux),
        run_as_user=_int64(security.run_as_user),
        run_as_group=_int64(security.run_as_group),
        readonly_rootfs=security.readonly_rootfs,
        supplemental_groups=security.supplemental_groups,
        supplemental_groups_policy=GROUPS[security.supplemental_groups_policy],
        privileged=security.privileged,
        seccomp=_profile(security.seccomp),
        apparmor=_profile(security.apparmor),
    )


def create_request(
    sandbox_id: str, config: ContainerConfig, pod: sandbox_pb2.PodSandboxConfig
) -> runtime_pb2.CreateContainerRequest:
    """CreateContainer; ``pod`` is what its sandbox was made from, which other runtimes look at."""
    return runtime_pb2.CreateContainerRequest(
        pod_sandbox_id=sandbox_id, config=container_message(config), sandbox_config=pod
    )


def container_message(config: ContainerConfig) -> container_pb2.ContainerConfig:
    """ContainerConfig."""
    return container_pb2.ContainerConfig(
        metadata=container_pb2.ContainerMetadata(name=config.name, attempt=config.attempt),
        image=_image(config.image),
        command=config.command,
        args=config.args,
        working_dir=config.working_dir,
        envs=[
            common_pb2.KeyValue(key=key, value=value.encode(errors="surrogateescape"))
            for key, value in config.envs
        ],
        mounts=[_mount(mount) for mount in config.mounts],
        devices=[
            common_pb2.Device(
                container_path=one.container_path,
                host_path=one.host_path,
                permissions=one.permissions,
            )
            for one in config.devices
        ],
        labels=config.labels,
        annotations=config.annotations,
        log_path=config.log_path,
        stdin=config.stdin,
        stdin_once=config.stdin_once,
        tty=config.tty,
        linux=container_pb2.LinuxContainerConfig(
            resources=common.resources_message(config.resources),
            security_context=_container_security(config.security),
        ),
        CDI_devices=[common_pb2.CDIDevice(name=name) for name in config.cdi_devices],
        stop_signal=common_pb2.Signal.Name(
            container.stop_signal_number(config.stop_signal) if config.stop_signal else 0
        ),
    )


def _container_security(
    security: ContainerSecurity,
) -> container_pb2.LinuxContainerSecurityContext:
    masked, readonly = _paths(security)
    return container_pb2.LinuxContainerSecurityContext(
        capabilities=_capabilities(security.capabilities),
        privileged=security.privileged,
        namespace_options=common.namespace_options_message(security.namespaces),
        selinux_options=_selinux(security.selinux),
        run_as_user=_int64(security.run_as_user),
        run_as_group=_int64(security.run_as_group),
        run_as_username=security.run_as_username,
        readonly_rootfs=security.readonly_rootfs,
        supplemental_groups=security.supplemental_groups,
        supplemental_groups_policy=GROUPS[security.supplemental_groups_policy],
        no_new_privs=security.no_new_privs,
        masked_paths=masked,
        readonly_paths=readonly,
        seccomp=_profile(security.seccomp),
        apparmor=_profile(security.apparmor),
    )


def _paths(security: ContainerSecurity) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The defaults by name, as a kubelet sends them: in a message, no list means none at all."""
    if security.privileged:
        return (), ()
    masked, readonly = security.masked_paths, security.readonly_paths
    return (
        MASKED_PATHS if masked is None else masked,
        READONLY_PATHS if readonly is None else readonly,
    )


def _image(spec: ImageSpec) -> common_pb2.ImageSpec:
    """``image`` is an id here; runtimes that show a name take it from the second field."""
    message = common.image_spec_message(spec)
    message.user_specified_image = spec.user_specified or spec.image
    return message


def _mount(mount: Mount) -> common_pb2.Mount:
    message = common_pb2.Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.readonly,
        selinux_relabel=mount.selinux_relabel,
        propagation=container.PROPAGATION_OUT[mount.propagation],
        uidMappings=common.id_mapping_messages(mount.uid_mappings),
        gidMappings=common.id_mapping_messages(mount.gid_mappings),
        recursive_read_only=mount.recursive_read_only,
        image_sub_path=mount.image_sub_path,
    )
    if mount.image is not None:
        message.image.CopyFrom(common.image_spec_message(mount.image))
    return message


def _capabilities(capabilities: Capabilities | None) -> common_pb2.Capability | None:
    if capabilities is None:
        return None
    return common_pb2.Capability(
        add_capabilities=capabilities.add,
        drop_capabilities=capabilities.drop,
        add_ambient_capabilities=capabilities.add_ambient,
    )


def _selinux(options: model.SELinuxOptions | None) -> common_pb2.SELinuxOption | None:
    if options is None:
        return None
    return common_pb2.SELinuxOption(
        user=options.user, role=options.role, type=options.type, level=options.level
    )


def _profile(profile: model.SecurityProfile | None) -> common_pb2.SecurityProfile | None:
    if profile is None:
        return None
    return common_pb2.SecurityProfile(
        profile_type=PROFILES[profile.type], localhost_ref=profile.localhost_ref
    )


def _int64(value: int | None) -> common_pb2.Int64Value | None:
    return None if value is None else common_pb2.Int64Value(value=value)
