"""Checks of sysctls: the value that counts now, and the one that the next boot sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.checks.network import pod_subnets
from trilby.node.model import Check, Seen, Verdict, at, failed, passed, skipped, warned

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS", "SYSCTLS", "Sysctl", "configured"]

GROUP: Final = "sysctls"
OUR_FILE: Final = "/etc/sysctl.d/90-trilby.conf"
# In the order in which systemd-sysctl(8) lets them win; sysctl.conf comes last.
FOLDERS: Final = ("/usr/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d")


class Sysctl(msgspec.Struct, frozen=True, kw_only=True):
    """A key and what it should be: ``value``, or at least that with ``least``.

    ``kubelet``: the kubelet sets it when it starts, or refuses to start with
    protectKernelDefaults. ``absent`` says why it may not be there. ``ipv6``: only pods with such
    addresses need it.
    """

    key: str
    value: int
    why: str
    least: bool = False
    bad: Verdict = Verdict.WARN
    kubelet: bool = False
    absent: str = ""
    ipv6: bool = False

    @property
    def id(self) -> str:
        return "sysctl-" + self.key.replace(".", "-").replace("_", "-")

    @property
    def path(self) -> str:
        return "/proc/sys/" + self.key.replace(".", "/")

    def suits(self, value: str) -> bool:
        return value.isdigit() and (
            int(value) >= self.value if self.least else int(value) == self.value
        )

    @property
    def mend(self) -> str:
        return (
            f"echo '{self.key} = {self.value}' >> {OUR_FILE} && sysctl -w {self.key}={self.value}"
        )


_KUBELET: Final = "the kubelet wants it so: with protectKernelDefaults it does not start otherwise"
_NO_BRIDGE: Final = "the module br_netfilter is not loaded"
SYSCTLS: Final = (
    Sysctl(
        key="net.ipv4.ip_forward", value=1, bad=Verdict.FAIL,
        why="packets of pods do not leave the node without it",
    ),
    Sysctl(
        key="net.ipv6.conf.all.forwarding", value=1, ipv6=True,
        absent="the kernel does not speak IPv6",
        why="packets of pods with IPv6 do not leave the node without it",
    ),
    Sysctl(
        key="net.bridge.bridge-nf-call-iptables", value=1, bad=Verdict.FAIL, absent=_NO_BRIDGE,
        why="packets between pods of a bridge go past the rules of services without it",
    ),
    Sysctl(
        key="net.bridge.bridge-nf-call-ip6tables", value=1, ipv6=True, absent=_NO_BRIDGE,
        why="packets between pods of a bridge go past the rules of IPv6 services without it",
    ),
    Sysctl(key="vm.overcommit_memory", value=1, kubelet=True, why=_KUBELET),
    Sysctl(key="vm.panic_on_oom", value=0, kubelet=True, why=_KUBELET),
    Sysctl(key="kernel.panic", value=10, kubelet=True, why=_KUBELET),
    Sysctl(key="kernel.panic_on_oops", value=1, kubelet=True, why=_KUBELET),
    Sysctl(key="kernel.keys.root_maxkeys", value=1_000_000, kubelet=True, why=_KUBELET),
    Sysctl(key="kernel.keys.root_maxbytes", value=25_000_000, kubelet=True, why=_KUBELET),
    Sysctl(
        key="fs.inotify.max_user_instances", value=512, least=True,
        why="each program that waits for files has one: the kubelet, the daemon, and many pods",
    ),
    Sysctl(
        key="fs.inotify.max_user_watches", value=65_536, least=True,
        why="the kubelet watches a file for each mounted secret and configMap",
    ),
    Sysctl(
        key="kernel.pid_max", value=65_536, least=True,
        why="it is the number of threads that all pods together may have",
    ),
    Sysctl(
        key="kernel.threads-max", value=65_536, least=True,
        why="it is the number of threads that all pods together may have",
    ),
    Sysctl(
        key="fs.file-max", value=262_144, least=True,
        why="it is the number of open files that all pods together may have",
    ),
    Sysctl(
        key="net.netfilter.nf_conntrack_max", value=65_536, least=True,
        absent="connections are not followed yet",
        why="new connections are dropped when the table is full",
    ),
)  # fmt: skip


def _look(sysctl: Sysctl) -> Callable[[Node], Seen]:
    def look(node: Node) -> Seen:
        value = node.host.word(sysctl.path)
        if not value:
            return skipped(f"{sysctl.path} is not there: {sysctl.absent or 'no such sysctl here'}")
        place, boot = configured(node).get(sysctl.key, ("", ""))
        said = (place,) if place else ()
        if sysctl.suits(value):
            if boot and not sysctl.suits(boot):
                return warned(f"{sysctl.path} is {value}, and the next boot sets {boot}", *said)
            return passed(f"{sysctl.path} is {value}", *said)
        if sysctl.ipv6 and not any(":" in subnet for subnet, _, _ in pod_subnets(node)):
            return passed(f"{sysctl.path} is {value}, and no pods get IPv6 addresses")
        least = "at least " if sysctl.least else ""
        seen = f"{sysctl.path} is {value}; wanted is {least}{sysctl.value}"
        if sysctl.kubelet and node.kubelet and node.kubelet.boolean("protectKernelDefaults", False):
            reason = node.kubelet.told("protectKernelDefaults", "true")
            return failed(seen, *said, reason)
        return (failed if sysctl.bad is Verdict.FAIL else warned)(seen, *said)

    return look


def configured(node: Node) -> dict[str, tuple[str, str]]:
    """Key -> evidence and value of the last line that sets it; sysctl.d(5)."""
    files: dict[str, str] = {}
    for folder in FOLDERS:
        for name in node.host.names(folder):
            if name.endswith(".conf"):
                files[name] = f"{folder}/{name}"
    found = {}
    for path in [*(path for _, path in sorted(files.items())), "/etc/sysctl.conf"]:
        for number, line in node.host.lines(path):
            name, equals, value = line.lstrip("-").partition("=")
            if equals:
                key = _dotted(name.strip())
                found[key] = at(path, number, f"{key} = {value.strip()}"), value.strip()
    return found


def _dotted(key: str) -> str:
    """Slashes may part a key too; what comes first says which."""
    slash, dot = key.find("/"), key.find(".")
    return key.replace("/", ".") if 0 <= slash and (dot < 0 or slash < dot) else key


CHECKS: Final = tuple(
    Check(
        id=sysctl.id,
        group=GROUP,
        title=sysctl.key,
        why=sysctl.why,
        look=_look(sysctl),
        mend=sysctl.mend,
    )
    for sysctl in SYSCTLS
)
