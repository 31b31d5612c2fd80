"""ContainerConfig to the engine's form, and the engine's containers to what is listed."""

from __future__ import annotations

from typing import Final, cast

from trilby.cri import translate_common as common
from trilby.cri.errors import InvalidRequest
from trilby.cri.proto import common_pb2
from trilby.cri.proto import container_pb2 as pb
from trilby.pods import model_container as model
from trilby.pods.model_status import ContainerState, ContainerStatus

PROPAGATION: Final = {
    common_pb2.PROPAGATION_PRIVATE: model.Propagation.PRIVATE,
    common_pb2.PROPAGATION_HOST_TO_CONTAINER: model.Propagation.HOST_TO_CONTAINER,
    common_pb2.PROPAGATION_BIDIRECTIONAL: model.Propagation.BIDIRECTIONAL,
}
PROPAGATION_OUT: Final = {value: number for number, value in PROPAGATION.items()}
STATES: Final = {
    ContainerState.CREATED: pb.CONTAINER_CREATED,
    ContainerState.RUNNING: pb.CONTAINER_RUNNING,
    ContainerState.EXITED: pb.CONTAINER_EXITED,
    ContainerState.UNKNOWN: pb.CONTAINER_UNKNOWN,
}


def container_config(config: pb.ContainerConfig, image: str) -> model.ContainerConfig:
    """``image`` is the id that the named image was found to have. Raises InvalidRequest."""
    if not config.metadata.name:
        raise InvalidRequest("config.metadata.name has to be given")
    return model.ContainerConfig(
        name=config.metadata.name,
        attempt=config.metadata.attempt,
        image=_image(config, image),
        command=tuple(config.command),
        args=tuple(config.args),
        working_dir=config.working_dir,
        envs=tuple((env.key, env.value.decode(errors="surrogateescape")) for env in config.envs),
        mounts=tuple(map(_mount, config.mounts)),
        devices=tuple(
            model.Device(
                host_path=one.host_path,
                container_path=one.container_path,
                permissions=one.permissions,
            )
            for one in config.devices
        ),
        cdi_devices=tuple(device.name for device in config.CDI_devices),
        labels=common.labels(config.labels, "config.labels"),
        annotations=dict(config.annotations),
        log_path=config.log_path,
        stdin=config.stdin,
        stdin_once=config.stdin_once,
        tty=config.tty,
        resources=common.resources(config.linux.resources),
        security=_security(config.linux.security_context),
        stop_signal=stop_signal(config.stop_signal),
    )


def _image(config: pb.ContainerConfig, image: str) -> model.ImageSpec:
    spec = config.image
    return model.ImageSpec(
        image=image,
        ref=image,
        user_specified=spec.user_specified_image or spec.image,
        runtime_handler=spec.runtime_handler,
        annotations=dict(spec.annotations),
    )


def _mount(mount: common_pb2.Mount) -> model.Mount:
    propagation = PROPAGATION.get(mount.propagation)
    if propagation is None:
        raise InvalidRequest(f"mounts: propagation {mount.propagation} is not known")
    image = mount.image if mount.HasField("image") and mount.image.image else None
    return model.Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.readonly,
        recursive_read_only=mount.recursive_read_only,
        propagation=propagation,
        selinux_relabel=mount.selinux_relabel,
        uid_mappings=common.id_mappings(mount.uidMappings),
        gid_mappings=common.id_mappings(mount.gidMappings),
        image=common.image_spec(image) if image is not None else None,
        image_sub_path=mount.image_sub_path,
    )


def _security(context: pb.LinuxContainerSecurityContext) -> model.ContainerSecurity:
    user = context.HasField("run_as_user") or bool(context.run_as_username)
    if context.HasField("run_as_group") and not user:
        raise InvalidRequest("security_context: run_as_group is given without a user")
    capabilities = None
    if context.HasField("capabilities"):
        capabilities = model.Capabilities(
            add=tuple(context.capabilities.add_capabilities),
            drop=tuple(context.capabilities.drop_capabilities),
            add_ambient=tuple(context.capabilities.add_ambient_capabilities),
        )
    return model.ContainerSecurity(
        capabilities=capabilities,
        privileged=context.privileged,
        namespaces=common.namespace_options(context.namespace_options),
        selinux=common.selinux(context.selinux_options, given=context.HasField("selinux_options")),
        run_as_user=common.optional_int(context.run_as_user, given=context.HasField("run_as_user")),
        run_as_username=context.run_as_username,
        run_as_group=common.optional_int(
            context.run_as_group, given=context.HasField("run_as_group")
        ),
        supplemental_groups=tuple(context.supplemental_groups),
        supplemental_groups_policy=common.groups_policy(context.supplemental_groups_policy),
        readonly_rootfs=context.readonly_rootfs,
        no_new_privs=context.no_new_privs,
        masked_paths=tuple(context.masked_paths),
        readonly_paths=tuple(context.readonly_paths),
        seccomp=common.profile(
            context.seccomp,
            given=context.HasField("seccomp"),
            old=context.seccomp_profile_path,
        ),
        apparmor=common.profile(
            context.apparmor,
            given=context.HasField("apparmor"),
            old=context.apparmor_profile,
        ),
    )


def stop_signal(number: common_pb2.Signal) -> str:
    """The name of a CRI Signal such as ``SIGRTMIN+3``; empty for the image's own."""
    if number == common_pb2.RUNTIME_DEFAULT:
        return ""
    try:
        name = common_pb2.Signal.Name(number)
    except ValueError:
        raise InvalidRequest(f"stop_signal {number} is not known") from None
    return name.replace("PLUS", "+").replace("MINUS", "-")


def stop_signal_number(name: str) -> common_pb2.Signal:
    """The CRI's number of a signal's name; RUNTIME_DEFAULT for one that it has no number for."""
    wanted = name.upper()
    if not wanted.startswith("SIG"):
        wanted = f"SIG{wanted}"
    wanted = wanted.replace("+", "PLUS").replace("-", "MINUS")
    found = dict(common_pb2.Signal.items()).get(wanted, common_pb2.RUNTIME_DEFAULT)
    return cast("common_pb2.Signal", found)


def listed(status: ContainerStatus) -> pb.Container:
    """One line of ListContainers. ``image_ref`` is the image's id: what PullImage answered."""
    return pb.Container(
        id=status.id,
        pod_sandbox_id=status.sandbox_id,
        metadata=pb.ContainerMetadata(name=status.name, attempt=status.attempt),
        image=_spec_message(status.image),
        image_ref=status.image_id,
        state=STATES[status.state],
        created_at=status.created_at,
        labels=status.labels,
        annotations=status.annotations,
        image_id=status.image_id,
    )


def status_message(status: ContainerStatus) -> pb.ContainerStatus:
    """All that is known of a container."""
    message = pb.ContainerStatus(
        id=status.id,
        metadata=pb.ContainerMetadata(name=status.name, attempt=status.attempt),
        state=STATES[status.state],
        created_at=status.created_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code or 0,
        image=_spec_message(status.image),
        image_ref=status.image_id,
        reason=status.reason,
        message=status.message,
        labels=status.labels,
        annotations=status.annotations,
        mounts=[_mount_message(mount) for mount in status.mounts],
        log_path=status.log_path,
        resources=pb.ContainerResources(linux=common.resources_message(status.resources)),
        image_id=status.image_id,
        stop_signal=stop_signal_number(status.stop_signal or "SIGTERM"),
    )
    if status.user is not None:
        message.user.linux.uid = status.user.uid
        message.user.linux.gid = status.user.gid
        message.user.linux.supplemental_groups.extend(status.user.supplemental_groups)
    return message


def _spec_message(spec: model.ImageSpec) -> common_pb2.ImageSpec:
    """``image`` is what the caller asked for, not the id that it was found to be."""
    message = common.image_spec_message(spec)
    message.image = spec.user_specified or spec.image
    return message


def _mount_message(mount: model.Mount) -> common_pb2.Mount:
    message = common_pb2.Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.readonly,
        selinux_relabel=mount.selinux_relabel,
        propagation=PROPAGATION_OUT[mount.propagation],
        uidMappings=common.id_mapping_messages(mount.uid_mappings),
        gidMappings=common.id_mapping_messages(mount.gid_mappings),
        recursive_read_only=mount.recursive_read_only,
        image_sub_path=mount.image_sub_path,
    )
    if mount.image is not None:
        message.image.CopyFrom(common.image_spec_message(mount.image))
    return message
