"""The mounts of a container: the system's, the sandbox's files, the image's volumes, the pod's."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

import msgspec

from trilby.oci.runtime import Mount
from trilby.pods import model_container
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import NamespaceMode, NamespaceOptions
from trilby.pods.model_container import Propagation
from trilby.pods.spec.host import RuntimeFeatures
from trilby.pods.spec.namespaces import convert_mappings, has_user_namespace

READ_ONLY_TMPFS = ("/run", "/tmp", "/var/tmp")
# A pod that mounts over one of these wants nothing of ours below it.
OVERRIDABLE = ("/dev", "/sys", "/proc")
_PROPAGATION = {
    Propagation.PRIVATE: "rprivate",
    Propagation.HOST_TO_CONTAINER: "rslave",
    Propagation.BIDIRECTIONAL: "rshared",
}


class SandboxFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Host paths to bind from the sandbox; an empty one is not bound."""

    hostname: str = ""
    hosts: str = ""
    resolv_conf: str = ""
    shm: str = ""


class MountPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides the mounts.

    ``sources`` maps a requested mount's container path to its resolved host path, ``volumes``
    likewise for the image's own volumes. ``tmpfs`` are places for file systems in memory that
    begin with the image's content. ``storage_root``: a mount that contains it must not
    keep the file systems of other containers busy.
    """

    options: NamespaceOptions
    mounts: tuple[model_container.Mount, ...] = ()
    sources: Mapping[str, str] = {}
    volumes: Mapping[str, str] = {}
    files: SandboxFiles = SandboxFiles()
    privileged: bool = False
    readonly_rootfs: bool = False
    tmpfs: tuple[str, ...] = ()
    features: RuntimeFeatures = RuntimeFeatures()
    storage_root: str = ""


def build_mounts(plan: MountPlan) -> tuple[tuple[Mount, ...], str]:
    """The mounts in their order (a parent before what is in it), and the root's propagation."""
    # Of two at one place the last counts, as it would by being mounted on top.
    asked = {container_path(mount): _asked(mount, plan) for mount in plan.mounts}
    ours = [
        mount
        for mount in (*_system(plan), *_sandbox_files(plan), *_volumes(plan), *_tmpfs(plan))
        if not _overridden(mount.destination, asked)
    ]
    # The runtime makes what is in /dev right after it: ours keep their order, then by depth.
    ordered = [*ours, *asked.values()]
    ordered.sort(key=lambda mount: _depth(mount.destination))
    return tuple(ordered), _root_propagation(plan)


def _depth(path: str) -> int:
    return 0 if path == "/" else path.count("/")


def _overridden(ours: str, places: Iterable[str]) -> bool:
    return any(
        ours == place or (place in OVERRIDABLE and ours.startswith(place + "/")) for place in places
    )


def _system(plan: MountPlan) -> tuple[Mount, ...]:
    quiet = ("nosuid", "noexec", "nodev")
    userns = has_user_namespace(plan.options)
    access = "rw" if plan.privileged else "ro"
    proc = Mount("/proc", "proc", "proc", quiet)
    if userns and plan.options.pid is NamespaceMode.NODE:
        proc = Mount("/proc", "bind", "/proc", ("rbind", *quiet))
    sysfs = Mount("/sys", "sysfs", "sysfs", (*quiet, access))
    if userns and plan.options.network is NamespaceMode.NODE:
        # A user namespace may mount sysfs only with a network namespace of its own.
        sysfs = Mount("/sys", "bind", "/sys", ("rbind", *quiet, access))
    gid = () if userns else ("gid=5",)
    pts = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *gid)
    mqueue = Mount("/dev/mqueue", "mqueue", "mqueue", quiet)
    if plan.options.ipc is NamespaceMode.NODE and userns:
        mqueue = Mount("/dev/mqueue", "bind", "/dev/mqueue", ("rbind", *quiet))
    return (
        proc,
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        sysfs,
        Mount("/dev/pts", "devpts", "devpts", pts),
        mqueue,
        _shm(plan, quiet),
        Mount("/sys/fs/cgroup", "cgroup", "cgroup", (*quiet, "relatime", access)),
    )


def _shm(plan: MountPlan, quiet: tuple[str, ...]) -> Mount:
    source = plan.files.shm
    if not source and plan.options.ipc is NamespaceMode.NODE:
        source = "/dev/shm"
    if source:
        return Mount("/dev/shm", "bind", source, ("rbind", *quiet, "rprivate", "rw"))
    return Mount("/dev/shm", "tmpfs", "shm", (*quiet, "mode=1777", "size=65536k"))


def _sandbox_files(plan: MountPlan) -> list[Mount]:
    access = "ro" if plan.readonly_rootfs else "rw"
    options = ("bind", "nosuid", "nodev", "noexec", "rprivate", access)
    wanted = (
        ("/etc/resolv.conf", plan.files.resolv_conf),
        ("/etc/hostname", plan.files.hostname),
        ("/etc/hosts", plan.files.hosts),
    )
    return [Mount(place, "bind", source, options) for place, source in wanted if source]


def _volumes(plan: MountPlan) -> list[Mount]:
    return [
        Mount(posixpath.normpath(place), "bind", source, ("rbind", "rprivate", "rw"))
        for place, source in plan.volumes.items()
    ]


def _tmpfs(plan: MountPlan) -> list[Mount]:
    options = ("nosuid", "nodev", "rw", "mode=1777", "tmpcopyup")
    taken = {posixpath.normpath(place) for place in plan.volumes}
    return [Mount(place, "tmpfs", "tmpfs", options) for place in plan.tmpfs if place not in taken]


def _asked(mount: model_container.Mount, plan: MountPlan) -> Mount:
    place = container_path(mount)
    source = plan.sources.get(mount.container_path, mount.host_path)
    if mount.image is not None and not mount.readonly:
        raise InvalidPodConfig(f"mount {place}: an image volume has to be read-only")
    options = ["rbind", _propagation(mount, source, plan), _access(mount, place, plan)]
    return Mount(
        place,
        "bind",
        source,
        tuple(options),
        convert_mappings(mount.uid_mappings),
        convert_mappings(mount.gid_mappings),
    )


def container_path(mount: model_container.Mount) -> str:
    """Where the mount goes, absolute and clean. Raises ``InvalidPodConfig``."""
    if not mount.container_path or "\0" in mount.container_path:
        raise InvalidPodConfig(f"mount of {mount.host_path!r}: no place in the container")
    # CRI-O and containerd both take a relative path from the root.
    place = posixpath.normpath("/" + mount.container_path.lstrip("/"))
    if place == "/":
        raise InvalidPodConfig("a mount cannot replace the container's root")
    return place


def _propagation(mount: model_container.Mount, source: str, plan: MountPlan) -> str:
    chosen = _PROPAGATION[mount.propagation]
    below = source.rstrip("/") + "/"
    if chosen == "rprivate" and plan.storage_root and plan.storage_root.startswith(below):
        return "rslave"
    return chosen


def _access(mount: model_container.Mount, place: str, plan: MountPlan) -> str:
    if not mount.recursive_read_only:
        return "ro" if mount.readonly else "rw"
    if not mount.readonly:
        raise InvalidPodConfig(f"mount {place}: recursive_read_only needs readonly")
    if mount.propagation is not Propagation.PRIVATE:
        raise InvalidPodConfig(f"mount {place}: recursive_read_only needs private propagation")
    if not plan.features.recursive_read_only:
        raise InvalidPodConfig(
            f"RROUnsupported: mount {place}: no recursive read-only mounts here",
            hint="they need Linux 5.12, and runc 1.1 or crun 1.4",
        )
    return "rro"


def _root_propagation(plan: MountPlan) -> str:
    """As much as the most demanding mount needs; empty leaves it to the runtime."""
    kinds = {mount.propagation for mount in plan.mounts}
    if Propagation.BIDIRECTIONAL in kinds:
        return "rshared"
    return "rslave" if Propagation.HOST_TO_CONTAINER in kinds else ""
