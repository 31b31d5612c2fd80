"""From a container's configuration to its OCI config: what the engine adds to the spec builder."""

from __future__ import annotations

import os
from contextlib import ExitStack

from msgspec.structs import replace

from trilby.oci.runtime import Mount
from trilby.pods import container_volumes
from trilby.pods.container_rootfs import ImageFacts
from trilby.pods.engine_parts import Parts
from trilby.pods.errors import ContainerNotFound, InvalidPodConfig
from trilby.pods.model_common import NamespaceMode, UserNamespace
from trilby.pods.model_container import ContainerConfig
from trilby.pods.sandbox_cgroup import container_cgroup
from trilby.pods.sandbox_files import write
from trilby.pods.spec.build import build_for
from trilby.pods.spec.host import RuntimeFeatures
from trilby.pods.spec.inputs import BuiltSpec, SandboxPaths, SpecDefaults, SpecRequest
from trilby.pods.spec.limits import parse_ulimit
from trilby.pods.spec.rootfs_files import read_in_root
from trilby.pods.state import SandboxRecord
from trilby.system.files import Fd
from trilby.system.syscalls_file import open_in_root


def build_bundle(
    parts: Parts,
    sandbox: SandboxRecord,
    container_id: str,
    config: ContainerConfig,
    image: ImageFacts,
    rootfs: str,
    stack: ExitStack,
) -> BuiltSpec:
    """The OCI config. What had to be mounted until the container is created is on ``stack``."""
    places = container_volumes.places(parts.layout.bundle(container_id), config)
    image_mounts = container_volumes.mount_images(parts.rootfs, config, places, stack)
    for path in image.config.config.volumes:
        make_directory_in_root(rootfs, path)
    special = any(mount.recursive_read_only for mount in config.mounts)
    features = parts.runtimes.get(sandbox.handler).features() if special else RuntimeFeatures()
    paths = sandbox_paths(parts, sandbox, config)
    request = SpecRequest(
        container_id=container_id,
        sandbox=sandbox.config,
        paths=paths,
        container=config,
        image=image.config,
        rootfs=rootfs,
        cgroups_path=container_cgroup(parts.config, sandbox.cgroup, container_id),
        defaults=spec_defaults(parts),
        image_mounts=image_mounts,
        features=features,
    )
    built = build_for(request)
    if places:
        user = sandbox.config.security.namespaces.userns or UserNamespace()
        pod = container_volumes.PodUser(path=paths.userns, uids=user.uids, gids=user.gids)
        mounts = container_volumes.shift_owners(built.spec.mounts, config, places, pod, stack)
        built = replace(built, spec=replace(built.spec, mounts=mounts))
    if not built.user.passwd_line or any(m.container_path == "/etc/passwd" for m in config.mounts):
        return built
    path = f"{parts.layout.bundle(container_id)}/passwd"
    text = read_in_root(rootfs, "/etc/passwd")
    write(
        path,
        f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{built.user.passwd_line}\n",
    )
    passwd = Mount(
        destination="/etc/passwd", type="bind", source=path, options=("bind", "ro", "rprivate")
    )
    return replace(built, spec=replace(built.spec, mounts=(*built.spec.mounts, passwd)))


def make_directory_in_root(rootfs: str, path: str) -> None:
    """A directory that the image declares as a volume: made if missing, links stay inside."""
    with Fd.open(rootfs, os.O_PATH | os.O_DIRECTORY) as root:
        place = ""
        for name in path.strip("/").split("/"):
            try:
                with Fd(open_in_root(root.number, place or ".", os.O_PATH)) as parent:
                    os.mkdir(name, 0o755, dir_fd=parent.number)
            except FileExistsError:
                pass
            place = f"{place}/{name}" if place else name


def sandbox_paths(parts: Parts, sandbox: SandboxRecord, config: ContainerConfig) -> SandboxPaths:
    """What the sandbox made, for the spec builder."""
    run = parts.layout.sandbox_run(sandbox.id)

    def pin(kind: str) -> str:
        path = f"{run}/ns/{kind}"
        return path if os.path.exists(path) else ""

    shm = f"{run}/shm"
    return SandboxPaths(
        id=sandbox.id,
        netns=pin("net"),
        ipcns=pin("ipc"),
        utsns=pin("uts"),
        userns=pin("user"),
        pidns=_pid_namespace(parts, sandbox, config, pin("pid")),
        hostname=sandbox.hostname,
        resolv_conf=f"{run}/resolv.conf",
        hostname_file=f"{run}/hostname",
        hosts_file=f"{run}/hosts",
        shm=shm if os.path.isdir(shm) else "",
    )


def _pid_namespace(
    parts: Parts, sandbox: SandboxRecord, config: ContainerConfig, pod_pin: str
) -> str:
    options = config.security.namespaces
    if options.pid is not NamespaceMode.TARGET:
        return pod_pin
    try:
        parts.layout.load_container(sandbox.id, options.target_id)
        live = parts.layout.load_container_live(options.target_id)
    except ContainerNotFound:
        live = None
    if live is None or not os.path.exists(f"/proc/{live.pid}/ns/pid"):
        raise InvalidPodConfig(
            f"container {config.name}: the target {options.target_id[:12]} of its PID namespace "
            f"does not run in this pod"
        )
    return f"/proc/{live.pid}/ns/pid"


def spec_defaults(parts: Parts) -> SpecDefaults:
    """The engine's settings that shape every container."""
    config = parts.config
    defaults = SpecDefaults(
        add_inheritable_capabilities=config.add_inheritable_capabilities,
        env=config.default_env,
        rlimits=tuple(map(parse_ulimit, config.default_ulimits)),
        pids_limit=config.pids_limit,
        seccomp_profile=config.seccomp_profile,
        privileged_seccomp_profile=config.privileged_seccomp_profile,
        min_memory=config.container_min_memory,
        read_only=config.read_only,
        storage_root=os.path.dirname(config.root),
    )
    if config.default_capabilities:
        defaults = replace(defaults, capabilities=config.default_capabilities)
    return defaults
