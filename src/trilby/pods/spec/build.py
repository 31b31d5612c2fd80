"""The OCI config of a container: from values to a value, no host is looked at or changed.

Follows the OCI runtime specification 1.0 and the Kubernetes CRI's rules for the messages that
the configurations are modelled on.
"""

from __future__ import annotations

from msgspec.structs import replace

from trilby.oci.runtime import (
    SPEC_VERSION,
    Capabilities,
    Linux,
    LinuxResources,
    Process,
    Root,
    Seccomp,
    Spec,
    User,
)
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import NamespaceMode, SELinuxOptions
from trilby.pods.spec.annotations import build_annotations
from trilby.pods.spec.capabilities import build_capabilities
from trilby.pods.spec.cdi import edit_hooks, edit_mounts, edit_process
from trilby.pods.spec.devices import build_devices
from trilby.pods.spec.gather import gather
from trilby.pods.spec.host import HostFacts
from trilby.pods.spec.inputs import BuiltSpec, SpecInputs, SpecRequest
from trilby.pods.spec.limits import build_oom_score, build_rlimits
from trilby.pods.spec.masks import masked_paths, readonly_paths
from trilby.pods.spec.mounts import READ_ONLY_TMPFS, MountPlan, SandboxFiles, build_mounts
from trilby.pods.spec.namespaces import build_namespaces, has_user_namespace, user_mappings
from trilby.pods.spec.process import build_args, build_cwd, build_env
from trilby.pods.spec.resources import build_resources
from trilby.pods.spec.seccomp import build_seccomp
from trilby.pods.spec.security import Labels, build_apparmor, container_labels, pod_level
from trilby.pods.spec.users import missing_ids
from trilby.system.limits import CAPABILITIES

# mount_setattr(2), by which runtimes do it.
RECURSIVE_READ_ONLY_SINCE = (5, 12)


def build_for(request: SpecRequest, host: HostFacts | None = None) -> BuiltSpec:
    """Read what is needed and build: the engine's one call. Blocking; ``InvalidPodConfig``."""
    return build_container_spec(gather(request, host))


def build_container_spec(inputs: SpecInputs) -> BuiltSpec:
    """The config and what had to be clamped. Raises ``InvalidPodConfig``."""
    request = inputs.request
    security = request.container.security
    check_request(request)
    process, warnings = _process(inputs)
    linux, more = _linux(inputs, process.capabilities or Capabilities())
    mounts, propagation = build_mounts(_mount_plan(inputs))
    annotations, dropped = _annotations(request)
    spec = Spec(
        oci_version=SPEC_VERSION,
        process=edit_process(process, inputs.cdi),
        root=Root(request.rootfs, readonly=_readonly(inputs)),
        mounts=mounts + edit_mounts(inputs.cdi),
        hooks=edit_hooks(inputs.cdi),
        annotations=annotations,
        linux=replace(linux, rootfs_propagation=propagation, mount_label=_labels(inputs).mount),
    )
    if security.privileged and has_user_namespace(request.sandbox.security.namespaces):
        more += ("privileged in a user namespace: privileged over that namespace only",)
    return BuiltSpec(spec=spec, user=inputs.user, warnings=warnings + more + dropped)


def check_request(request: SpecRequest) -> None:
    """Raise ``InvalidPodConfig`` for combinations that cannot be."""
    container, sandbox = request.container, request.sandbox
    if container.security.privileged and not sandbox.security.privileged:
        raise InvalidPodConfig(f"container {container.name}: privileged, but its pod is not")
    for key, value in container.labels.items():
        if len(key) + len(value) > 4096:
            raise InvalidPodConfig(f"label {key[:60]}...: longer than 4096 bytes with its value")
    options = container.security.namespaces
    if options.network is NamespaceMode.CONTAINER or options.ipc is NamespaceMode.CONTAINER:
        raise InvalidPodConfig("network and ipc namespaces are the pod's or the node's")


def _process(inputs: SpecInputs) -> tuple[Process, tuple[str, ...]]:
    request, host, user = inputs.request, inputs.host, inputs.user
    container, defaults = request.container, request.defaults
    security = container.security
    capabilities, no_caps = build_capabilities(
        security.capabilities,
        defaults.capabilities,
        # A new user namespace comes with every capability over itself.
        CAPABILITIES if _has_userns(inputs) else host.limits.bounding,
        privileged=security.privileged,
        inheritable=defaults.add_inheritable_capabilities,
    )
    rlimits, no_limits = build_rlimits(defaults.rlimits, host.limits)
    oom_score, no_oom = build_oom_score(container.resources.oom_score_adj, host.limits)
    apparmor = build_apparmor(
        security.apparmor,
        defaults.apparmor_profile,
        enabled=host.apparmor,
        privileged=security.privileged,
        loaded=inputs.apparmor_profiles,
    )
    image = request.image.config
    process = Process(
        user=User(user.uid, user.gid, additional_gids=user.groups),
        args=build_args(container, image),
        cwd=build_cwd(container, image),
        terminal=container.tty,
        env=build_env(container, image, defaults.env, request.paths.hostname),
        capabilities=capabilities,
        rlimits=rlimits,
        no_new_privileges=security.no_new_privs,
        apparmor_profile=apparmor,
        oom_score_adj=oom_score,
        selinux_label=_labels(inputs).process,
    )
    return process, no_caps + no_limits + no_oom + _no_labels(inputs)


def _linux(inputs: SpecInputs, capabilities: Capabilities) -> tuple[Linux, tuple[str, ...]]:
    request, host = inputs.request, inputs.host
    security = request.container.security
    userns = request.sandbox.security.namespaces.userns
    uids, gids = user_mappings(userns)
    if uids:
        _check_mapped(inputs)
    resources, warnings = _resources(inputs)
    owner = None
    if request.defaults.device_ownership_from_security_context:
        owner = (inputs.user.uid, inputs.user.gid)
    nodes, rules = build_devices(inputs.devices, privileged=security.privileged, owner=owner)
    linux = Linux(
        uid_mappings=uids,
        gid_mappings=gids,
        resources=replace(resources, devices=rules),
        cgroups_path=request.cgroups_path,
        namespaces=build_namespaces(
            replace(security.namespaces, userns=userns),
            request.paths.namespaces(),
            cgroup_v2=host.limits.unified,
            privileged=security.privileged,
        ),
        devices=nodes,
        seccomp=_seccomp(inputs, capabilities),
        masked_paths=masked_paths(security.masked_paths, privileged=security.privileged),
        readonly_paths=readonly_paths(security.readonly_paths, privileged=security.privileged),
    )
    return linux, warnings


def _resources(inputs: SpecInputs) -> tuple[LinuxResources, tuple[str, ...]]:
    request = inputs.request
    wanted = request.container.resources
    # A new cgroup has no quota; crun cannot write "none" to one of cgroup v1.
    wanted = replace(wanted, cpu_quota=max(wanted.cpu_quota, 0))
    return build_resources(
        wanted,
        inputs.host.limits,
        pids_limit=request.defaults.pids_limit,
        min_memory=request.defaults.min_memory,
        scope=":" in request.cgroups_path,
    )


def _seccomp(inputs: SpecInputs, capabilities: Capabilities) -> Seccomp | None:
    if inputs.seccomp is None:
        return None
    return build_seccomp(
        inputs.seccomp,
        inputs.seccomp_name,
        arch=inputs.host.arch,
        capabilities=capabilities.bounding,
        kernel=inputs.host.kernel,
    )


def _mount_plan(inputs: SpecInputs) -> MountPlan:
    request = inputs.request
    security, paths = request.container.security, request.paths
    features = request.features
    if inputs.host.kernel < RECURSIVE_READ_ONLY_SINCE:
        features = replace(features, recursive_read_only=False)
    return MountPlan(
        options=replace(security.namespaces, userns=request.sandbox.security.namespaces.userns),
        mounts=request.container.mounts,
        sources=inputs.sources,
        volumes=request.volumes,
        files=SandboxFiles(
            hostname=paths.hostname_file,
            hosts=paths.hosts_file,
            resolv_conf=paths.resolv_conf,
            shm=paths.shm,
        ),
        privileged=security.privileged,
        readonly_rootfs=_readonly(inputs),
        tmpfs=READ_ONLY_TMPFS if request.defaults.read_only else (),
        features=features,
        storage_root=request.defaults.storage_root,
    )


def _labels(inputs: SpecInputs) -> Labels:
    request = inputs.request
    if inputs.selinux is None:
        return Labels()
    level = request.paths.selinux_level or pod_level(request.paths.id)
    return container_labels(request.sandbox, request.container, level, inputs.selinux)


def _no_labels(inputs: SpecInputs) -> tuple[str, ...]:
    """Kubernetes wants pods with labels to run where nothing has labels."""
    request = inputs.request
    wanted = request.container.security.selinux or request.sandbox.security.selinux
    if inputs.selinux is not None or wanted in (None, SELinuxOptions()):
        return ()
    return ("SELinux options are left out: this host has no SELinux",)


def _readonly(inputs: SpecInputs) -> bool:
    request = inputs.request
    return request.container.security.readonly_rootfs or request.defaults.read_only


def _has_userns(inputs: SpecInputs) -> bool:
    return has_user_namespace(inputs.request.sandbox.security.namespaces)


def _check_mapped(inputs: SpecInputs) -> None:
    userns = inputs.request.sandbox.security.namespaces.userns
    assert userns is not None
    ranges = [(item.container_id, item.length) for item in userns.uids[:1]]
    if missing := missing_ids(inputs.user, ranges):
        raise InvalidPodConfig(
            f"ids {', '.join(map(str, missing))} are outside of the pod's user namespace",
            hint="use lower ids, or a longer mapping",
        )


def _annotations(request: SpecRequest) -> tuple[dict[str, str], tuple[str, ...]]:
    """The container's own, and CRI-O's that hooks and other runtimes look at."""
    ours = {
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.ContainerID": request.container_id,
        "io.kubernetes.cri-o.SandboxID": request.paths.id,
        "io.kubernetes.cri-o.SandboxName": request.sandbox.name,
        "io.kubernetes.cri-o.Namespace": request.sandbox.namespace,
        "io.kubernetes.cri-o.TTY": str(request.container.tty).lower(),
        "io.kubernetes.container.name": request.container.name,
    }
    allowed = request.defaults.allowed_annotations
    return build_annotations(request.container.annotations, ours, allowed)
