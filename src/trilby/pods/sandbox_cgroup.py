"""Where pods and containers are in the cgroup hierarchy, for both cgroup managers."""

from __future__ import annotations

from msgspec.structs import replace

from trilby.pods.config import CgroupManager, EngineConfig
from trilby.pods.errors import CgroupParentInvalid
from trilby.system.cgroups import Cgroup, detect


def sandbox_cgroup(config: EngineConfig, asked: str, sandbox_id: str) -> tuple[str, bool]:
    """The pod's cgroup as the manager names it, and whether it is the engine's own to remove.

    ``asked`` is the kubelet's, or empty. Raises CgroupParentInvalid when it does not fit the
    manager: systemd wants a slice, cgroupfs must not get one.
    """
    systemd = config.cgroup_manager is CgroupManager.SYSTEMD
    if asked:
        if asked.endswith(".slice") != systemd:
            wanted = "a name that ends in .slice" if systemd else "a path, not a slice"
            raise CgroupParentInvalid(
                f"cgroup parent {asked!r}: the cgroup manager {config.cgroup_manager} "
                f"needs {wanted}",
                hint="give the kubelet and trilby.conf the same cgroup driver",
            )
        return (asked.rpartition("/")[2] if systemd else "/" + asked.strip("/")), False
    if systemd:
        parent = config.cgroup_parent.strip("/").removesuffix(".slice") or "trilby"
        return f"{parent}-{sandbox_id[:12]}.slice", True
    return f"/{config.cgroup_parent.strip('/')}/{sandbox_id}", True


def container_cgroup(config: EngineConfig, sandbox_cgroup: str, container_id: str) -> str:
    """``cgroupsPath`` of the OCI config: a path, or slice:prefix:name for systemd."""
    if config.cgroup_manager is CgroupManager.SYSTEMD:
        return f"{sandbox_cgroup}:trilby:{container_id}"
    return f"{sandbox_cgroup}/{container_id}"


def cgroup_path(name: str) -> str:
    """The absolute path in the hierarchy of what either function above returned."""
    if ":" in name:
        slice_name, prefix, unit = name.split(":")
        return f"{cgroup_path(slice_name)}/{prefix}-{unit}.scope"
    if not name.endswith(".slice"):
        return name
    # systemd: a-b.slice is inside a.slice
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts)))


def whole_cgroup(path: str) -> Cgroup:
    """The cgroup in every hierarchy that a runtime makes it in.

    On hosts with both versions that is the unified hierarchy as well, though it limits nothing.
    """
    hierarchies = detect()
    if hierarchies.mode == "hybrid":
        hierarchies = replace(hierarchies, v1={**hierarchies.v1, "": hierarchies.v2})
    return Cgroup(path, hierarchies)
