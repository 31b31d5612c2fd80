"""Checks of ports: open in the firewall for others, free for kubelet and daemon."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trilby.node.model import Check, Seen, failed, passed, skipped, warned
from trilby.node.processes import find, unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from trilby.node.node import Node

__all__ = ["CHECKS", "listeners"]

GROUP: Final = "ports"
FIREWALLD: Final = "firewalld.service"
FIREWALLD_CONF: Final = "/etc/firewalld/firewalld.conf"
ZONES: Final = ("/etc/firewalld/zones", "/usr/lib/firewalld/zones")
SERVICES: Final = ("/etc/firewalld/services", "/usr/lib/firewalld/services")
#: Where the API server finds the kubelet.
KUBELET: Final = 10250
#: Port -> whose it is, and the program that may have it.
PORTS: Final = (
    (10250, "kubelet", "the kubelet's API"),
    (10248, "kubelet", "the kubelet's /healthz"),
)
_OPEN: Final = ("ACCEPT",)
_LISTEN: Final = "0A"


def _firewalld(node: Node) -> Seen:
    service = unit(node.host, FIREWALLD)
    if not (service.active or service.enabled):
        return skipped("firewalld neither runs nor is enabled")
    name, place = _default_zone(node)
    path = next((f"{top}/{name}.xml" for top in ZONES if node.host.exists(f"{top}/{name}.xml")), "")
    text = node.host.read(path) if path else None
    if text is None:
        return warned(f"{place}: the zone {name} has no file in {', '.join(ZONES)}")
    target = re.search(r'<zone[^>]*\btarget="([^"]*)"', text)
    if target and target[1] in _OPEN:
        return passed(f"{path}: the target of the zone is {target[1]}")
    for number, line in enumerate(text.splitlines(), 1):
        if _opens(node, line):
            return passed(f"{path}:{number}: {line.strip()}")
    return failed(f"{place}: the default zone is {name}", f"{path}: {KUBELET}/tcp is not in it")


def _default_zone(node: Node) -> tuple[str, str]:
    for number, line in node.host.lines(FIREWALLD_CONF):
        key, _, value = line.partition("=")
        if key.strip() == "DefaultZone":
            return value.strip(), f"{FIREWALLD_CONF}:{number}"
    return "public", FIREWALLD_CONF


def _opens(node: Node, line: str) -> bool:
    """Whether a line of a zone, or the service that it names, has the kubelet's port."""
    if port := re.search(r'<port\b[^>]*\bport="(\d+)(?:-(\d+))?"', line):
        return "tcp" in line and int(port[1]) <= KUBELET <= int(port[2] or port[1])
    if service := re.search(r'<service\b[^>]*\bname="([^"/]+)"', line):
        for top in SERVICES:
            text = node.host.read(f"{top}/{service[1]}.xml") or ""
            if any(_opens(node, each) for each in text.splitlines() if "<port" in each):
                return True
    return False


def _forward(node: Node) -> Seen:
    """Docker and some firewalls drop what is not theirs."""
    if not node.host.live:
        return skipped("rules of a host that does not run are not known")
    path = node.host.which("iptables")
    if not path:
        return skipped("iptables is not installed")
    said = node.host.run(path, "-S", "FORWARD")
    if said.problem:
        return skipped(f"{path} -S FORWARD: {said.problem}")
    lines = said.text.splitlines()
    accepts = [line for line in lines if line.endswith("-j ACCEPT") or "CNI-FORWARD" in line]
    if "-P FORWARD DROP" in lines and not accepts:
        return warned("iptables -S FORWARD: -P FORWARD DROP, and no rule that accepts")
    return passed(f"iptables -S FORWARD: {lines[0] if lines else 'no policy'}")


def listeners(node: Node) -> dict[int, str]:
    """TCP port -> inode of the socket that listens on it, whatever the address."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in (node.host.read(f"{node.host.proc}/net/{name}") or "").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN:
                found[int(fields[1].rpartition(":")[2], 16)] = fields[9]
    return found


def _free(port: int, program: str, what: str) -> Callable[[Node], Seen]:
    def look(node: Node) -> Seen:
        if not node.host.exists(f"{node.host.proc}/net/tcp"):
            return skipped(f"{node.host.proc}/net/tcp is not there")
        return _owner(node, port, program, what)

    return look


def _owner(node: Node, port: int, program: str, what: str) -> Seen:
    inode = listeners(node).get(port)
    if inode is None:
        return passed(f"port {port} is free")
    rights = find(node.host, program)
    if any(_has_socket(node, process.pid, inode) for process in rights):
        return passed(f"port {port} is that of {program} (process {rights[0].pid})")
    return failed(
        f"{node.host.proc}/net/tcp: somebody listens on port {port}, which is for {what}",
        mend=f"ss -ltnp 'sport = :{port}', and stop what has it",
    )


def _has_socket(node: Node, pid: int, inode: str) -> bool:
    """Without rights to see it, a process that runs is believed to have its port."""
    import os

    folder = node.host.path(f"/proc/{pid}/fd")
    try:
        return any(
            os.readlink(f"{folder}/{name}") == f"socket:[{inode}]" for name in os.listdir(folder)
        )
    except OSError:
        return True


def _ours(node: Node) -> Seen:
    from trilby.node.model import worst

    if not node.host.exists(f"{node.host.proc}/net/tcp"):
        return skipped(f"{node.host.proc}/net/tcp is not there")
    seen = [_owner(node, port, "trilbyd", what) for port, what in node.settings.ports]
    return worst(seen, skipped("the daemon has no fixed port"))


CHECKS: Final = (
    Check(
        id="firewall-kubelet", group=GROUP, title="Kubelet's port in firewalld", look=_firewalld,
        why="logs, exec and metrics of pods are asked for at port 10250 of the node",
        mend=f"firewall-cmd --permanent --add-port={KUBELET}/tcp && firewall-cmd --reload",
    ),
    Check(
        id="firewall-forward", group=GROUP, title="Forwarding in iptables", look=_forward,
        slow=True, why="packets of pods are dropped on their way through the node",
        mend="iptables -P FORWARD ACCEPT",
    ),
    *(
        Check(id=f"port-{port}", group=GROUP, title=f"Port {port}", look=_free(port, program, what),
              why=f"{what} is there, and does not start if the port is taken")
        for port, program, what in PORTS
    ),
    Check(
        id="ports-daemon", group=GROUP, title="Ports of the daemon", look=_ours,
        why="the daemon does not start if they are taken",
    ),
)  # fmt: skip
