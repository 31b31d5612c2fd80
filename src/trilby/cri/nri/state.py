"""What plugins see of sandboxes and containers: from the engine's values to messages."""

from __future__ import annotations

from typing import Final

from trilby.cri.nri.limits import from_engine, from_oci
from trilby.cri.nri.proto import pod_pb2 as pb
from trilby.oci.runtime import Hook, Linux, LinuxResources, Process
from trilby.pods.hooks import HookedContainer, HookedSandbox
from trilby.pods.model_common import ProfileType
from trilby.pods.model_status import ContainerState

__all__ = ["container_message", "pod_message"]

_STATES: Final = {
    ContainerState.CREATED: pb.CONTAINER_CREATED,
    ContainerState.RUNNING: pb.CONTAINER_RUNNING,
    ContainerState.EXITED: pb.CONTAINER_STOPPED,
    ContainerState.UNKNOWN: pb.CONTAINER_UNKNOWN,
}
_PROFILES: Final = {
    ProfileType.RUNTIME_DEFAULT: pb.SecurityProfile.RUNTIME_DEFAULT,
    ProfileType.UNCONFINED: pb.SecurityProfile.UNCONFINED,
    ProfileType.LOCALHOST: pb.SecurityProfile.LOCALHOST,
}


def pod_message(pod: HookedSandbox) -> pb.PodSandbox:
    """A sandbox."""
    record, live = pod.record, pod.live
    config = record.config
    return pb.PodSandbox(
        id=record.id,
        name=config.name,
        uid=config.uid,
        namespace=config.namespace,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
        linux=pb.LinuxPodSandbox(
            pod_overhead=from_engine(live.overhead or config.overhead),
            pod_resources=from_engine(live.resources or config.resources),
            cgroup_parent=config.cgroup_parent or record.cgroup,
            cgroups_path=record.cgroup,
            namespaces=[
                pb.LinuxNamespace(type=item.type, path=item.path) for item in pod.namespaces
            ],
        ),
        pid=live.infra_pid,
        ips=live.ips,
    )


def container_message(container: HookedContainer) -> pb.Container:
    """A container; what it was made with is that of its OCI config."""
    record, spec, status = container.record, container.spec, container.status
    told = pb.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox_id,
        name=record.config.name,
        labels=record.config.labels,
        annotations={**record.config.annotations, **spec.annotations},
        mounts=[
            pb.Mount(
                destination=item.destination,
                type=item.type,
                source=item.source,
                options=item.options,
            )
            for item in spec.mounts
        ],
        linux=_linux(container, spec.linux or Linux(), spec.process),
        created_at=record.created_at,
        CDI_devices=[pb.CDIDevice(name=name) for name in record.config.cdi_devices],
        image=pb.Image(
            name=record.config.image.user_specified or record.config.image.image,
            digest=record.image_ref.partition("@")[2],
            config_digest=f"sha256:{record.image_id.removeprefix('sha256:')}",
        ),
    )
    if spec.process is not None:
        _add_process(told, spec.process)
    if spec.hooks is not None:
        for stage in spec.hooks.__struct_fields__:
            getattr(told.hooks, stage).extend(map(_hook, getattr(spec.hooks, stage)))
    if status is not None:
        told.state = _STATES[status.state]
        told.pid = status.pid
        told.started_at = status.started_at
        told.finished_at = status.finished_at
        told.exit_code = status.exit_code or 0
        told.status_reason = status.reason
        told.status_message = status.message
    return told


def _add_process(told: pb.Container, process: Process) -> None:
    told.args.extend(map(_text, process.args))
    told.env.extend(map(_text, process.env))
    for item in process.rlimits:
        told.rlimits.add(type=item.type, hard=item.hard, soft=item.soft)
    user = process.user
    told.user.uid, told.user.gid = user.uid, user.gid
    told.user.additional_gids.extend(user.additional_gids)


def _linux(container: HookedContainer, linux: Linux, process: Process | None) -> pb.LinuxContainer:
    told = pb.LinuxContainer(
        namespaces=[pb.LinuxNamespace(type=item.type, path=item.path) for item in linux.namespaces],
        resources=from_oci(linux.resources or LinuxResources()),
        cgroups_path=linux.cgroups_path,
        sysctl=linux.sysctl,
        net_devices={
            name: pb.LinuxNetDevice(name=device.name) for name, device in linux.net_devices.items()
        },
    )
    for item in linux.devices:
        device = told.devices.add(
            path=item.path, type=item.type, major=item.major, minor=item.minor
        )
        if item.file_mode is not None:
            device.file_mode.CopyFrom(pb.OptionalFileMode(value=item.file_mode))
        if item.uid is not None:
            device.uid.CopyFrom(pb.OptionalUInt32(value=item.uid))
        if item.gid is not None:
            device.gid.CopyFrom(pb.OptionalUInt32(value=item.gid))
    seccomp = container.record.config.security.seccomp
    told.seccomp_profile.profile_type = (
        pb.SecurityProfile.UNCONFINED if seccomp is None else _PROFILES[seccomp.type]
    )
    if seccomp is not None:
        told.seccomp_profile.localhost_ref = seccomp.localhost_ref
    if linux.intel_rdt is not None:
        told.rdt.clos_id.value = linux.intel_rdt.clos_id
        told.rdt.schemata.value.extend(linux.intel_rdt.schemata)
        told.rdt.enable_monitoring.value = linux.intel_rdt.enable_monitoring
    if process is not None:
        _add_scheduling(told, process)
    return told


def _add_scheduling(told: pb.LinuxContainer, process: Process) -> None:
    if process.oom_score_adj is not None:
        told.oom_score_adj.CopyFrom(pb.OptionalInt(value=process.oom_score_adj))
    if process.io_priority is not None:
        priority = process.io_priority
        told.io_priority.priority = priority.priority
        setattr(told.io_priority, "class", pb.IOPrioClass.Value(priority.class_))
    if process.scheduler is not None:
        scheduler = process.scheduler
        told.scheduler.CopyFrom(
            pb.LinuxScheduler(
                policy=scheduler.policy,
                nice=scheduler.nice,
                priority=scheduler.priority,
                flags=scheduler.flags,
                runtime=scheduler.runtime,
                deadline=scheduler.deadline,
                period=scheduler.period,
            )
        )


def _text(text: str) -> str:
    """Messages are UTF-8; arguments and variables can be any bytes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _hook(hook: Hook) -> pb.Hook:
    told = pb.Hook(path=hook.path, args=hook.args, env=hook.env)
    if hook.timeout is not None:
        told.timeout.CopyFrom(pb.OptionalInt(value=hook.timeout))
    return told
