"""Checks of kernel modules: loaded, there to be loaded, and loaded at boot."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.model import Check, Seen, Verdict, failed, passed, skipped, warned

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS", "MODULES", "Module"]

GROUP: Final = "modules"
LOAD_FOLDERS: Final = (
    *("/etc/modules-load.d", "/run/modules-load.d"),
    *("/usr/lib/modules-load.d", "/lib/modules-load.d"),
)  # fmt: skip
OUR_FILE: Final = "/etc/modules-load.d/trilby.conf"


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A module that is wanted. ``names`` are alternatives: one is enough.

    ``by_itself``: the kernel loads it when it is used, so that it need only be there.
    ``marks`` are files that are there when the feature is, as a module or built in.
    """

    id: str
    names: tuple[str, ...]
    why: str
    bad: Verdict = Verdict.FAIL
    by_itself: bool = True
    marks: tuple[str, ...] = ()


MODULES: Final = (
    Module(
        id="module-overlay", names=("overlay",),
        why="the storage driver overlay mounts images with it",
    ),
    Module(
        id="module-br-netfilter", names=("br_netfilter",), by_itself=False,
        marks=("/proc/sys/net/bridge",),
        why="without it packets between pods of a bridge go past the rules of services",
    ),
    Module(
        id="module-bridge", names=("bridge",), marks=("/proc/sys/net/bridge",),
        why="the built-in network and the CNI plugin bridge need it",
    ),
    Module(
        id="module-veth", names=("veth",), why="the network of a pod is the end of such a pair",
    ),
    Module(
        id="module-nf-tables", names=("nf_tables", "ip_tables"),
        marks=("/proc/net/ip_tables_names",),
        why="host ports, masquerading and kube-proxy are rules of it",
    ),
    Module(
        id="module-nf-conntrack", names=("nf_conntrack",), marks=("/proc/net/nf_conntrack",),
        why="masquerading and kube-proxy follow connections with it",
    ),
    Module(
        id="module-nf-nat", names=("nf_nat",), why="masquerading and host ports rewrite addresses",
    ),
    Module(
        id="module-vxlan", names=("vxlan",), bad=Verdict.WARN,
        why="network providers with tunnels (flannel, Calico, Cilium) use it",
    ),
    Module(
        id="module-ip-vs", names=("ip_vs",), bad=Verdict.WARN,
        why="kube-proxy in the mode ipvs uses it",
    ),
    Module(
        id="module-xt-comment", names=("xt_comment",), bad=Verdict.WARN,
        why="rules of kube-proxy and of CNI plugins carry comments",
    ),
    Module(
        id="module-tun", names=("tun",), bad=Verdict.WARN,
        why="network providers with user space tunnels use it",
    ),
)  # fmt: skip


def _look(module: Module) -> Callable[[Node], Seen]:
    bad = failed if module.bad is Verdict.FAIL else warned

    def look(node: Node) -> Seen:
        for name in module.names:
            if node.host.exists(f"/sys/module/{name}"):
                return passed(f"/sys/module/{name} is there")
        for mark in module.marks:
            if node.host.exists(mark):
                return passed(f"{mark} is there")
        names = " or ".join(module.names)
        if "overlay" in module.names and _registered(node, "overlay"):
            return passed("/proc/filesystems has overlay")
        folder = f"/lib/modules/{node.release}"
        if not node.release or not node.host.exists(f"{folder}/modules.dep"):
            return skipped(f"/sys/module does not have {names}, nor is {folder} there to look")
        for name in module.names:
            if file := _file_of(node, name):
                if module.by_itself:
                    return passed(f"{name} is not loaded; {file}: it will be when it is used")
                return bad(f"{name} is not loaded; {file}: it is there", mend=_load(name))
        return bad(f"{names} is not loaded, and /lib/modules/{node.release} does not have it",
                   mend=_install(module.names[0]))  # fmt: skip

    return look


def _registered(node: Node, kind: str) -> bool:
    return any(line.split()[-1] == kind for _, line in node.host.lines("/proc/filesystems"))


def _file_of(node: Node, name: str) -> str:
    """The module index that has it, with the line: what is built in counts too."""
    pattern = re.compile(rf"[^:]*/{name.replace('_', '[_-]')}\.ko")
    for index in ("modules.builtin", "modules.dep"):
        path = f"/lib/modules/{node.release}/{index}"
        for number, line in node.host.lines(path):
            if pattern.match(line):
                return f"{path}:{number}"
    return ""


def _load(name: str) -> str:
    return f"modprobe {name} && echo {name} >> {OUR_FILE}"


def _install(name: str) -> str:
    return (
        f"dnf install kernel-modules-$(uname -r) kernel-modules-extra-$(uname -r) && {_load(name)}"
    )


def _at_boot(node: Node) -> Seen:
    """What does not come by itself has to be in a file."""
    wanted = [module.names[0] for module in MODULES if not module.by_itself]
    listed: dict[str, str] = {}
    for folder in LOAD_FOLDERS:
        for file in node.host.names(folder):
            if file.endswith(".conf"):
                for number, line in node.host.lines(f"{folder}/{file}"):
                    listed.setdefault(line.replace("-", "_"), f"{folder}/{file}:{number}")
    missing = [name for name in wanted if name not in listed and not _built_in(node, name)]
    if missing:
        return warned(
            f"no file of {', '.join(LOAD_FOLDERS[:3])} has {', '.join(missing)}",
            mend="; ".join(f"echo {name} >> {OUR_FILE}" for name in missing),
        )
    return passed(*(f"{listed.get(name, 'the kernel')}: {name}" for name in wanted))


def _built_in(node: Node, name: str) -> bool:
    return "modules.builtin" in _file_of(node, name)


CHECKS: Final = (
    *(
        Check(
            id=module.id,
            group=GROUP,
            title=f"Module {' or '.join(module.names)}",
            why=module.why,
            look=_look(module),
        )
        for module in MODULES
    ),
    Check(
        id="modules-at-boot", group=GROUP, title="Modules that are loaded at boot",
        why="what was loaded by hand is gone after the next boot",
        look=_at_boot,
    ),
)  # fmt: skip
