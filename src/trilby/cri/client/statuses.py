"""What a daemon says of sandboxes and containers, as the engine's values."""

from __future__ import annotations

from typing import Final

from trilby.cri import translate_common as common
from trilby.cri import translate_container, translate_sandbox
from trilby.cri.proto import common_pb2, container_pb2, sandbox_pb2
from trilby.pods.model_common import NamespaceMode, NamespaceOptions
from trilby.pods.model_container import Mount, Propagation
from trilby.pods.model_status import (
    ContainerState,
    ContainerStatus,
    ContainerUser,
    SandboxState,
    SandboxStatus,
)

SANDBOX_STATES: Final = {number: state for state, number in translate_sandbox.STATES.items()}
CONTAINER_STATES: Final = {number: state for state, number in translate_container.STATES.items()}


def sandbox_status(message: sandbox_pb2.PodSandboxStatus) -> SandboxStatus:
    """A status. What the CRI does not tell, such as the infra process, is empty."""
    network = message.network
    ips = [network.ip, *(one.ip for one in network.additional_ips)]
    options = message.linux.namespaces.options
    return SandboxStatus(
        id=message.id,
        name=message.metadata.name,
        uid=message.metadata.uid,
        namespace=message.metadata.namespace,
        attempt=message.metadata.attempt,
        state=SANDBOX_STATES.get(message.state, SandboxState.NOTREADY),
        created_at=message.created_at,
        ips=tuple(ip for ip in ips if ip),
        namespaces=_namespaces(options),
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        runtime_handler=message.runtime_handler,
    )


def _namespaces(options: common_pb2.NamespaceOption) -> NamespaceOptions:
    """As the daemon says; what is unknown here is not worth a failure."""

    def mode(number: int) -> NamespaceMode:
        return common.MODES.get(number, NamespaceMode.POD)

    userns = options.userns_options if options.HasField("userns_options") else None
    return NamespaceOptions(
        network=mode(options.network),
        pid=mode(options.pid),
        ipc=mode(options.ipc),
        target_id=options.target_id,
        userns=common.user_namespace(userns) if userns is not None else None,
    )


def container_status(message: container_pb2.ContainerStatus, sandbox_id: str) -> ContainerStatus:
    """A status; the CRI's has no sandbox in it."""
    state = CONTAINER_STATES.get(message.state, ContainerState.UNKNOWN)
    user = message.user.linux if message.user.HasField("linux") else None
    return ContainerStatus(
        id=message.id,
        sandbox_id=sandbox_id,
        name=message.metadata.name,
        attempt=message.metadata.attempt,
        state=state,
        created_at=message.created_at,
        started_at=message.started_at,
        finished_at=message.finished_at,
        exit_code=message.exit_code if state is ContainerState.EXITED else None,
        image=common.image_spec(message.image),
        image_ref=message.image_ref,
        image_id=message.image_id or message.image_ref,
        reason=message.reason,
        message=message.message,
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        mounts=tuple(map(_mount, message.mounts)),
        log_path=message.log_path,
        resources=common.resources(message.resources.linux),
        user=None
        if user is None
        else ContainerUser(
            uid=user.uid, gid=user.gid, supplemental_groups=tuple(user.supplemental_groups)
        ),
        stop_signal=translate_container.stop_signal(message.stop_signal),
    )


def _mount(mount: common_pb2.Mount) -> Mount:
    return Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.readonly,
        recursive_read_only=mount.recursive_read_only,
        propagation=translate_container.PROPAGATION.get(mount.propagation, Propagation.PRIVATE),
        selinux_relabel=mount.selinux_relabel,
        uid_mappings=common.id_mappings(mount.uidMappings),
        gid_mappings=common.id_mappings(mount.gidMappings),
        image=common.image_spec(mount.image) if mount.image.image else None,
        image_sub_path=mount.image_sub_path,
    )


def tty_and_stdin(info: dict[str, object]) -> tuple[bool, bool]:
    """Whether a container has a terminal and takes input, by what a verbose status says.

    The CRI has no field for it. trilbyd says it, containerd shows what it was asked for, CRI-O the
    OCI config; where nothing is said of input, it is tried.
    """
    for said in (info, _at(info, "config")):
        if "tty" in said or "stdin" in said:
            return bool(said.get("tty")), bool(said.get("stdin"))
    process = _at(_at(info, "runtimeSpec"), "process")
    return bool(process.get("terminal")), True


def _at(document: dict[str, object], key: str) -> dict[str, object]:
    found = document.get(key)
    if not isinstance(found, dict):
        return {}
    return {str(name): value for name, value in found.items()}
