"""Checks of cgroups: version, controllers, and whether the kubelet has the same driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trilby.node.model import Check, Seen, failed, passed, skipped, warned
from trilby.node.processes import unit
from trilby.pods.config import CgroupManager

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS"]

GROUP: Final = "cgroups"
NEEDED: Final = ("cpu", "cpuset", "memory", "pids")
WANTED: Final = ("hugetlb",)
WANTED_V1: Final = ("hugetlb", "devices", "freezer", "blkio")
SYSTEMD: Final = "/run/systemd/system"
SERVICE: Final = "trilby.service"
V2: Final = "grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1 && reboot"


def _version(node: Node) -> Seen:
    found = node.hierarchies
    if found is None:
        return failed(
            "no cgroup file system is mounted", mend="mount -t cgroup2 none /sys/fs/cgroup"
        )
    if found.unified:
        return passed(f"version 2 at {found.v2}")
    seen = f"version 1 ({len(set(found.v1.values()))} hierarchies)" + (
        f", version 2 at {found.v2} beside it" if found.v2 else ""
    )
    if node.kubelet and not node.kubelet.boolean("failCgroupV1", True):
        return warned(seen, node.kubelet.told("failCgroupV1", "false"))
    return warned(seen)


def _kubelet_v1(node: Node) -> Seen:
    found = node.hierarchies
    if found is None or found.unified:
        return skipped("the host has version 2")
    if node.kubelet is None:
        return skipped(node.kubelet_problem or "there is no KubeletConfiguration")
    if node.kubelet.boolean("failCgroupV1", True):
        return failed(node.kubelet.told("failCgroupV1", "true"))
    return passed(node.kubelet.told("failCgroupV1", "false"))


def _controllers(node: Node) -> Seen:
    found = node.hierarchies
    if found is None:
        return skipped("no cgroup file system is mounted")
    there = found.controllers
    needed = (*NEEDED, "io") if found.unified else NEEDED
    place = f"{found.v2}/cgroup.controllers" if found.unified else f"{node.host.proc}/cgroup"
    seen = f"{place}: {', '.join(sorted(there)) or 'none'}"
    missing = [name for name in needed if name not in there]
    if missing:
        return failed(f"{seen}; {', '.join(missing)} missing", mend=_enable(missing))
    missing = [name for name in (WANTED if found.unified else WANTED_V1) if name not in there]
    if missing:
        return warned(f"{seen}; {', '.join(missing)} missing", mend=_enable(missing))
    return passed(seen)


def _enable(missing: list[str]) -> str:
    names = ",".join(missing)
    return (
        f"take cgroup_disable={names} off the kernel's command line, or boot one that has {names}"
    )


def _delegated(node: Node) -> Seen:
    """Version 2 gives controllers to children only where they are switched on."""
    found = node.hierarchies
    if found is None or not found.unified:
        return skipped("only version 2 delegates controllers")
    path = f"{found.v2}/cgroup.subtree_control"
    enabled = node.host.word(path).split()
    missing = [name for name in NEEDED if name in found.controllers and name not in enabled]
    seen = f"{path}: {' '.join(enabled) or 'none'}"
    if missing and node.host.is_directory(SYSTEMD) and not unit(node.host, SERVICE).active:
        # It switches on what a unit below the top wants, as the daemon's does.
        return passed(f"{seen}; systemd hands {', '.join(missing)} down when {SERVICE} starts")
    if missing:
        return warned(
            f"{seen}; {', '.join(missing)} missing",
            mend=f"echo '{' '.join(f'+{name}' for name in missing)}' > {path}",
        )
    return passed(seen)


def _driver(node: Node) -> Seen:
    ours = node.engine.cgroup_manager
    place = f"{node.settings.place('trilby.runtime.cgroup_manager')}: cgroup_manager is {ours}"
    if node.kubelet is None:
        return skipped(node.kubelet_problem or "there is no KubeletConfiguration", place)
    theirs = node.kubelet.string("cgroupDriver", "cgroupfs")
    told = node.kubelet.told("cgroupDriver", theirs)
    if theirs == ours:
        return passed(place, told)
    where = node.kubelet.where("cgroupDriver")
    path, _, line = where.rpartition(":")
    change = f"sed -i '{line}s/{theirs}/{ours}/' {path}"
    if "cgroupDriver" not in node.kubelet:
        change = f"echo 'cgroupDriver: {ours}' >> {node.kubelet.sections[0].path}"
    return failed(place, told, mend=f"{change} && systemctl restart kubelet")


def _manager(node: Node) -> Seen:
    ours = node.engine.cgroup_manager
    place = f"{node.settings.place('trilby.runtime.cgroup_manager')}: cgroup_manager is {ours}"
    booted = node.host.is_directory(SYSTEMD)
    if not node.host.live and not booted:
        return skipped(f"{SYSTEMD} is not there: the host does not run", place)
    if ours is CgroupManager.SYSTEMD and not booted:
        return failed(place, f"{SYSTEMD} is not there", mend=_set("cgroupfs"))
    if ours is CgroupManager.CGROUPFS and booted:
        return warned(place, f"{SYSTEMD} is there", mend=_set("systemd"))
    return passed(place)


def _set(manager: str) -> str:
    return f"""printf '[trilby.runtime]\\ncgroup_manager = "{manager}"\\n' > \
/etc/trilby/trilby.conf.d/10-cgroups.conf, and the same cgroupDriver for the kubelet"""


def _swap_counted(node: Node) -> Seen:
    found = node.hierarchies
    if found is None or found.unified or "memory" not in found.v1:
        return skipped("version 2 counts swap always")
    path = f"{found.v1['memory']}/memory.memsw.limit_in_bytes"
    if node.host.exists(path):
        return passed(f"{path} is there")
    return warned(f"{path} is not there")


CHECKS: Final = (
    Check(
        id="cgroup-version", group=GROUP, title="Version of cgroups",
        why="Kubernetes only maintains version 1, and kubelets from 1.35 on refuse it unless told",
        look=_version, mend=V2,
    ),
    Check(
        id="cgroup-v1-allowed", group=GROUP, title="Kubelet and version 1",
        why="a kubelet that refuses version 1 does not start here",
        look=_kubelet_v1, mend="set failCgroupV1: false, or boot with version 2",
    ),
    Check(
        id="cgroup-controllers", group=GROUP, title="Controllers",
        why="limits and statistics of pods are theirs", look=_controllers,
    ),
    Check(
        id="cgroup-delegation", group=GROUP, title="Controllers of cgroups below the top",
        why="pods cannot be limited by a controller that their parents do not hand down",
        look=_delegated,
    ),
    Check(
        id="cgroup-driver", group=GROUP, title="Cgroup driver of daemon and kubelet",
        why="unless the kubelet asks the runtime for its driver, cgroup parents do not fit and pods"
        " are refused",
        look=_driver,
    ),
    Check(
        id="cgroup-manager", group=GROUP, title="Cgroup driver and systemd",
        why="a host has one manager of cgroups: two do not know what the other one gave away",
        look=_manager,
    ),
    Check(
        id="cgroup-swap", group=GROUP, title="Swap accounting",
        why="limits of swap are left out without it",
        look=_swap_counted, mend="grubby --update-kernel=ALL --args=swapaccount=1 && reboot",
    ),
)  # fmt: skip
