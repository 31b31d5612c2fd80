"""Checks of names: the host's own, resolv.conf, and what the host is called by machines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trilby.node.model import Check, Seen, at, failed, passed, skipped, warned

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS"]

GROUP: Final = "names"
RESOLV: Final = "/etc/resolv.conf"
UPLINK: Final = "/run/systemd/resolve/resolv.conf"
#: Limits of Kubernetes, which are those of old C libraries.
MOST_SERVERS: Final = 3
MOST_SEARCHED: Final = 32
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_USELESS: Final = ("localhost", "localhost.localdomain", "fedora")
_LOOPS: Final = re.compile(r"(127\.|::1$)")
_MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")


def _hostname(node: Node) -> Seen:
    name = node.host.word("/proc/sys/kernel/hostname") or node.host.word("/etc/hostname")
    if not name:
        return skipped("the host has no name that can be read")
    seen = f"the host's name is {name}"
    if name in _USELESS:
        return failed(f"{seen}: every host has that one")
    if not _LABEL.fullmatch(name.lower()) or len(name) > 253:
        return failed(f"{seen}: no name of a Kubernetes node")
    if name != name.lower():
        return warned(f"{seen}: the node is called {name.lower()}")
    kept = node.host.word("/etc/hostname")
    if kept and kept.partition(".")[0] != name.partition(".")[0]:
        return warned(f"{seen}, and the next boot makes it {kept} (/etc/hostname)")
    return passed(seen)


def _resolves(node: Node) -> Seen:
    """By files alone; nothing is sent."""
    name = node.host.word("/proc/sys/kernel/hostname") or node.host.word("/etc/hostname")
    if not name:
        return skipped("the host has no name that can be read")
    for number, line in node.host.lines("/etc/hosts"):
        address, *names = line.partition("#")[0].split()
        if name in names:
            return passed(at("/etc/hosts", number, f"{address} {' '.join(names)}"))
    for number, line in node.host.lines("/etc/nsswitch.conf"):
        if line.startswith("hosts:") and "myhostname" in line:
            return passed(at("/etc/nsswitch.conf", number, line))
    return warned(f"neither /etc/hosts nor myhostname in /etc/nsswitch.conf knows {name}")


def _localhost(node: Node) -> Seen:
    for number, line in node.host.lines("/etc/hosts"):
        address, *names = line.partition("#")[0].split()
        if "localhost" in names and (address.startswith("127.") or address == "::1"):
            return passed(at("/etc/hosts", number, line))
    return warned("/etc/hosts: no address for localhost")


def _for_pods(node: Node) -> str:
    """The file that pods get."""
    return node.kubelet.string("resolvConf", RESOLV) if node.kubelet else RESOLV


def _servers(node: Node, path: str) -> list[tuple[int, str]]:
    return [
        (number, line.split()[1])
        for number, line in node.host.lines(path)
        if line.split()[0] == "nameserver" and len(line.split()) > 1
    ]


def _nameservers(node: Node) -> Seen:
    path = _for_pods(node)
    if not node.host.exists(path):
        return failed(f"{path} is not there")
    servers = _servers(node, path)
    if not servers:
        return warned(f"{path}: no nameserver")
    if len(servers) > MOST_SERVERS:
        number = servers[MOST_SERVERS][0]
        return warned(at(path, number, f"{len(servers)} nameservers; {MOST_SERVERS} are used"))
    return passed(*(at(path, number, f"nameserver {server}") for number, server in servers))


def _loop(node: Node) -> Seen:
    path = _for_pods(node)
    for number, server in _servers(node, path):
        if _LOOPS.match(server):
            told = node.kubelet.told("resolvConf", path) if node.kubelet else ""
            return warned(
                at(path, number, f"nameserver {server}: in a pod that is the pod"),
                *filter(None, [told]),
                mend=f"set resolvConf: {UPLINK} in the kubelet's configuration"
                if node.host.exists(UPLINK)
                else "write a file without it, and name it in the kubelet's resolvConf",
            )
    if not node.host.exists(path):
        return skipped(f"{path} is not there")
    return passed(f"{path}: no nameserver of the host itself")


def _search(node: Node) -> Seen:
    path = _for_pods(node)
    for number, line in node.host.lines(path):
        words = line.split()
        if words[0] == "search":
            seen = at(path, number, f"{len(words) - 1} search domains")
            most = MOST_SEARCHED - 3
            return (
                passed(seen) if len(words) - 1 <= most else warned(f"{seen}; {most} are possible")
            )
    return passed(f"{path}: no search domains")


def _machine_id(node: Node) -> Seen:
    path = "/etc/machine-id"
    text = node.host.word(path)
    if not text or text == "uninitialized":
        return failed(f"{path} is {text or 'empty or not there'}")
    if not _MACHINE_ID.fullmatch(text) or text in ("0" * 32, "f" * 32):
        return failed(f"{path}:1: it has no usable id")
    if len(set(text)) < 4:
        return warned(f"{path}:1: the id looks made up")
    dbus = node.host.word("/var/lib/dbus/machine-id")
    if dbus and dbus != text:
        return warned(f"/var/lib/dbus/machine-id differs from {path}: one comes from a clone")
    return passed(f"{path}:1: {text[:8]}...")


def _product(node: Node) -> Seen:
    path = "/sys/class/dmi/id/product_uuid"
    text = node.host.word(path).lower()
    if not text:
        return skipped(f"{path} is not there")
    if len(set(text) - {"-"}) < 3:
        return warned(f"{path} is {text}: other hosts may have the same")
    return passed(f"{path} is {text[:8]}...")


CHECKS: Final = (
    Check(
        id="hostname", group=GROUP, title="Name of the host", look=_hostname,
        why="the node is registered under it; two of one name take each other's pods",
        mend="hostnamectl set-hostname NAME",
    ),
    Check(
        id="hostname-resolves", group=GROUP, title="Address of the host's name", look=_resolves,
        why="the kubelet looks its own name up to find the node's address",
        mend="echo \"ADDRESS $(hostname)\" >> /etc/hosts",
    ),
    Check(
        id="localhost", group=GROUP, title="Address of localhost", look=_localhost,
        why="probes and programs in pods of the host's network use that name",
        mend="echo '127.0.0.1 localhost' >> /etc/hosts",
    ),
    Check(
        id="dns-servers", group=GROUP, title="Nameservers for pods", look=_nameservers,
        why="pods with dnsPolicy: Default and the cluster's DNS ask them",
        mend="nmcli connection modify CONNECTION ipv4.dns ADDRESS",
    ),
    Check(
        id="dns-loop", group=GROUP, title="Nameservers that are the host itself", look=_loop,
        why="CoreDNS asks itself without end, and ends; other pods ask themselves in vain",
    ),
    Check(
        id="dns-search", group=GROUP, title="Search domains", look=_search,
        why="the cluster's own three come before them, and what is over 32 is cut off",
        mend="nmcli connection modify CONNECTION ipv4.dns-search ''",
    ),
    Check(
        id="machine-id", group=GROUP, title="Machine id", look=_machine_id,
        why="network providers and the kubelet tell nodes apart by it",
        mend="rm -f /etc/machine-id && systemd-machine-id-setup",
    ),
    Check(
        id="product-uuid", group=GROUP, title="Product UUID", look=_product,
        why="kubeadm tells nodes apart by it", mend="give each virtual machine its own UUID",
    ),
)  # fmt: skip
