"""Checks of the kernel: version, and features that pods are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trilby.node.model import Check, Seen, failed, passed, skipped, warned

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS"]

GROUP: Final = "kernel"
#: openat2(2), pidfd_getfd(2): without them no pod starts.
NEEDED: Final = (5, 6)
#: Since when there is what is missed in older kernels.
FEATURES: Final = (
    ((5, 12), "recursive read-only mounts"),
    ((5, 19), "user namespaces with overlay"),
    ((6, 3), "tmpfs volumes in pods with user namespaces"),
)
UPDATE: Final = "dnf upgrade kernel && reboot"
NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
SECCOMP: Final = "/proc/sys/kernel/seccomp/actions_avail"
USERNS: Final = "/proc/sys/user/max_user_namespaces"


def _version(node: Node) -> Seen:
    if node.kernel == (0, 0):
        return skipped("/proc/sys/kernel/osrelease is not there: the kernel is not known")
    seen = f"the kernel is {node.release}"
    if node.kernel < NEEDED:
        return failed(f"{seen}; {_dotted(NEEDED)} is needed")
    missing = [f"{what} ({_dotted(since)})" for since, what in FEATURES if node.kernel < since]
    if missing:
        return warned(f"{seen}; it lacks {', '.join(missing)}")
    return passed(seen)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _modules_there(node: Node) -> Seen:
    if not node.release:
        return skipped("the kernel is not known")
    folder = f"/lib/modules/{node.release}"
    if node.host.exists(f"{folder}/modules.dep"):
        return passed(f"{folder} is there")
    others = [name for name in node.host.names("/lib/modules") if name != node.release]
    if not others:
        return skipped("/lib/modules has no modules: the kernel has them built in, or is another's")
    return failed(
        f"{folder} is not there, but {', '.join(others)}: the running kernel was removed",
        mend="reboot",
    )


def _namespaces(node: Node) -> Seen:
    folder = f"{node.host.proc}/ns"
    there = node.host.names(folder)
    if not there:
        return skipped(f"{folder} is not there")
    missing = [name for name in NAMESPACES if name not in there]
    if missing:
        return failed(f"{folder} lacks {', '.join(missing)}")
    return passed(f"{folder} has {', '.join(there)}")


def _user_namespaces(node: Node) -> Seen:
    text = node.host.word(USERNS)
    if not text:
        return warned(f"{USERNS} is not there: the kernel has no user namespaces", mend=UPDATE)
    if int(text) == 0:
        return warned(f"{USERNS} is 0")
    if node.kernel < (5, 19):
        return warned(f"the kernel is {node.release}, 5.19 is needed", mend=UPDATE)
    return passed(f"{USERNS} is {text}")


def _seccomp(node: Node) -> Seen:
    actions = node.host.word(SECCOMP)
    if not actions:
        return failed(f"{SECCOMP} is not there: the kernel has no seccomp filters")
    if "errno" not in actions.split():
        return failed(f"{SECCOMP} is {actions}: errno is missing")
    return passed(f"{SECCOMP} is {actions}")


def _idmapped(node: Node) -> Seen:
    """The file system of the store has to take part."""
    if node.kernel < (5, 19):
        return warned(f"the kernel is {node.release}, 5.19 is needed", mend=UPDATE)
    mount = node.mount_of(node.settings.storage.graphroot)
    if mount is None:
        return skipped("the mount table is not there")
    since = _IDMAP_SINCE.get(mount.fs_type)
    seen = f"{node.settings.storage.graphroot} is on {mount.fs_type}, the kernel is {node.release}"
    if since is None:
        return warned(
            f"{seen}: mounts of it cannot shift owners",
            mend="put the graph root on xfs, ext4 or btrfs",
        )
    return passed(seen) if node.kernel >= since else warned(seen, mend=UPDATE)


_IDMAP_SINCE: Final = {
    "ext4": (5, 12),
    "xfs": (5, 12),
    "btrfs": (5, 15),
    "f2fs": (5, 18),
    "erofs": (5, 19),
    "tmpfs": (6, 3),
    "bcachefs": (6, 7),
    "zfs": (5, 19),
}


def _recursive_read_only(node: Node) -> Seen:
    if node.kernel < (5, 12):
        return warned(f"the kernel is {node.release}, 5.12 is needed", mend=UPDATE)
    return passed(f"the kernel is {node.release}")


def _propagation(node: Node) -> Seen:
    mount = node.mount_of("/var/lib/kubelet")
    if mount is None:
        return skipped("the mount table is not there")
    seen = f"{mount.target}, which has /var/lib/kubelet, is mounted {mount.propagation}"
    if "shared" in mount.propagation.split(","):
        return passed(seen)
    return warned(seen, mend=f"mount --make-rshared {mount.target}")


def _pressure(node: Node) -> Seen:
    if node.host.exists("/proc/pressure/memory"):
        return passed("/proc/pressure is there")
    line = node.host.word("/proc/cmdline")
    return warned(
        "/proc/pressure is not there" + (f"; /proc/cmdline: {line}" if "psi=0" in line else ""),
        mend="grubby --update-kernel=ALL --args=psi=1 && reboot",
    )


def _keyrings(node: Node) -> Seen:
    """runc and crun make a session keyring for each container."""
    if node.host.exists("/proc/keys"):
        return passed("/proc/keys is there")
    return warned("/proc/keys is not there: the kernel has no keyrings", mend=UPDATE)


def _devices(node: Node) -> Seen:
    names = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")
    if not node.host.names("/dev"):
        return skipped("/dev is empty")
    missing = [f"/dev/{name}" for name in names if not node.host.exists(f"/dev/{name}")]
    if missing:
        return failed(f"{', '.join(missing)} missing", mend="systemd-tmpfiles --create --boot")
    return passed(f"/dev has {', '.join(names)}")


CHECKS: Final = (
    Check(
        id="kernel-version", group=GROUP, title="Version of the kernel",
        why="pods are started with system calls that old kernels lack",
        look=_version, mend=UPDATE,
    ),
    Check(
        id="kernel-modules-there", group=GROUP, title="Modules of the running kernel",
        why="after an update of the kernel without a reboot nothing more can be loaded, so networks"
        " and file systems fail that were not used before",
        look=_modules_there,
    ),
    Check(
        id="kernel-namespaces", group=GROUP, title="Kinds of namespaces",
        why="every container gets one of each", look=_namespaces, mend=UPDATE,
    ),
    Check(
        id="kernel-user-namespaces", group=GROUP, title="User namespaces",
        why="pods with hostUsers: false are refused without them",
        look=_user_namespaces, mend="sysctl -w user.max_user_namespaces=65536",
    ),
    Check(
        id="kernel-seccomp", group=GROUP, title="Seccomp filters",
        why="containers with the profile RuntimeDefault are refused without them",
        look=_seccomp, mend=UPDATE,
    ),
    Check(
        id="kernel-idmapped-mounts", group=GROUP, title="Mounts with shifted owners",
        why="without them images of pods with user namespaces are copied: that costs time and room",
        look=_idmapped,
    ),
    Check(
        id="kernel-recursive-read-only", group=GROUP, title="Recursive read-only mounts",
        why="volumes with recursiveReadOnly: Enabled are refused without them",
        look=_recursive_read_only,
    ),
    Check(
        id="mount-propagation", group=GROUP, title="Propagation of mounts",
        why="volumes with mountPropagation do not reach the host: drivers of storage need it",
        look=_propagation,
    ),
    Check(
        id="kernel-pressure", group=GROUP, title="Pressure stall information",
        why="the kubelet tells pressure of pods and of the node from it", look=_pressure,
    ),
    Check(
        id="kernel-keyrings", group=GROUP, title="Keyrings",
        why="runtimes give each container a keyring of its own", look=_keyrings,
    ),
    Check(
        id="devices", group=GROUP, title="Device files",
        why="containers get those of the host", look=_devices,
    ),
)  # fmt: skip
