"""Checks of pod networks: CNI files, plugins and their versions, addresses, the way out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst
from trilby.pods.network.conflist import Conflist, at_least
from trilby.system.routes import default_links, routes_in

if TYPE_CHECKING:
    from trilby.node.node import Node
    from trilby.oci.codec import JsonValue

__all__ = ["CHECKS", "pod_subnets"]

GROUP: Final = "network"
#: What the built-in network runs.
BUILTIN: Final = ("bridge", "host-local")
BUILTIN_VERSION: Final = "1.0.0"
HOST_PORTS: Final = "portmap"
INSTALL: Final = "dnf install containernetworking-plugins"
ROUTES: Final = {4: "net/route", 6: "net/ipv6_route"}


class _Spoken(msgspec.Struct, frozen=True, rename="camel"):
    """A plugin's answer to VERSION."""

    supported_versions: tuple[str, ...] = ()


def _conflists(node: Node) -> Seen:
    engine, found = node.engine, node.networks
    directories = ", ".join(engine.cni_config_dirs)
    if found.errors:
        files = [error.message for error in found.errors]
        path = files[0].partition(":")[0]
        return failed(*files, mend=f"mend it, or mv {path} {path}.off")
    named = engine.cni_default_network
    chosen = found.choose(named)
    if chosen is not None:
        return passed(f"{chosen.path}: network {chosen.name}, CNI {chosen.version}")
    if named not in ("", "trilby"):
        place = node.settings.place("trilby.network.cni_default_network")
        return failed(
            f"{place}: cni_default_network is {named}, and {directories} has no such network",
            mend="name one that is there, or write its .conflist",
        )
    if engine.bridge_name:
        return passed(f"{directories} has none: the built-in network serves ({engine.bridge_name})")
    place = node.settings.place("trilby.network.bridge_name")
    return failed(
        f"{directories} has none, and {place}: bridge_name is empty",
        mend="install a network provider, or name a bridge",
    )


def _used(node: Node) -> list[tuple[str, str, str]]:
    """(plugin, where it is asked for, CNI version) of all networks that there are."""
    if not node.networks.networks:
        if not node.engine.bridge_name:
            return []
        return [(plugin, "the built-in network", BUILTIN_VERSION) for plugin in BUILTIN]
    return [use for network in node.networks.networks for use in _of_network(network)]


def _of_network(network: Conflist) -> Iterator[tuple[str, str, str]]:
    for plugin in network.plugins:
        yield plugin.type, network.path, network.version
        ipam = plugin.config.get("ipam")
        if isinstance(ipam, dict) and isinstance(kind := ipam.get("type"), str) and kind:
            yield kind, network.path, network.version


def _plugin(node: Node, name: str) -> str:
    return node.host.which(name, node.engine.cni_plugin_dirs)


def _plugins(node: Node) -> Seen:
    used = _used(node)
    missing = dict.fromkeys(
        f"{place}: plugin {name} is in none of {', '.join(node.engine.cni_plugin_dirs)}"
        for name, place, _ in used
        if not _plugin(node, name)
    )
    if missing:
        return failed(*missing)
    names = dict.fromkeys(_plugin(node, name) for name, _, _ in used)
    return passed(f"{', '.join(names)} are there") if names else skipped("there is no network")


def _versions(node: Node) -> Seen:
    if not node.host.live:
        return skipped("programs of a host that does not run are not started")
    seen = []
    for name, place, version in dict.fromkeys(_used(node)):
        if path := _plugin(node, name):
            seen.append(_speaks(node, path, place, version))
    merged = worst(seen, skipped("there is no plugin"))
    if merged.verdict == "pass":
        names = dict.fromkeys(line for each in seen for line in each.evidence)
        return passed(*names)
    return merged


def _speaks(node: Node, path: str, place: str, version: str) -> Seen:
    said = node.host.run(path, env=(("CNI_COMMAND", "VERSION"), ("CNI_ARGS", "")))
    try:
        versions = msgspec.json.decode(said.text.encode(), type=_Spoken).supported_versions
    except msgspec.DecodeError:
        return failed(f"{path}: {said.problem or 'says nothing that can be understood'}")
    if version not in versions:
        spoken = ", ".join(versions) or "none"
        return failed(f"{path} speaks CNI {spoken}; {place} is written in {version}")
    if not at_least(versions[-1], "1.0.0"):
        return warned(f"{path} speaks CNI {versions[-1]} at most")
    return passed(f"{path} speaks CNI {versions[-1]}")


def _host_ports(node: Node) -> Seen:
    chosen = node.networks.choose(node.engine.cni_default_network)
    if chosen is None:
        if _plugin(node, HOST_PORTS):
            return passed(f"{_plugin(node, HOST_PORTS)} is there, for the built-in network")
        return warned(f"{HOST_PORTS} is in none of {', '.join(node.engine.cni_plugin_dirs)}")
    if any("portMappings" in plugin.capabilities for plugin in chosen.plugins):
        return passed(f"{chosen.path}: a plugin has the capability portMappings")
    return warned(
        f"{chosen.path}: no plugin has the capability portMappings",
        mend=f"add portmap with the capability portMappings to {chosen.path}",
    )


def pod_subnets(node: Node) -> list[tuple[str, str, str]]:
    """(subnet, where it is said, bridge) of pods' addresses."""
    if not node.networks.networks:
        engine = node.engine
        return [
            (subnet, node.settings.place(f"trilby.network.{key}"), engine.bridge_name)
            for key, subnet in (
                ("bridge_subnet", engine.bridge_subnet),
                ("bridge_subnet_v6", engine.bridge_subnet_v6),
            )
            if subnet and engine.bridge_name
        ]  # fmt: skip
    found = []
    for network in node.networks.networks:
        for plugin in network.plugins:
            bridge = plugin.config.get("bridge", "cni0")
            for subnet in _in_ipam(plugin.config.get("ipam")):
                found.append((subnet, network.path, str(bridge)))
    return found


def _in_ipam(ipam: JsonValue) -> Iterator[str]:
    """The subnets of host-local: one, or ranges of them."""
    if not isinstance(ipam, dict):
        return
    if isinstance(subnet := ipam.get("subnet"), str):
        yield subnet
    ranges = ipam.get("ranges")
    for group in ranges if isinstance(ranges, list) else ():
        for each in group if isinstance(group, list) else ():
            if isinstance(each, dict) and isinstance(subnet := each.get("subnet"), str):
                yield subnet


def _overlaps(node: Node) -> Seen:
    seen = []
    for subnet, place, bridge in pod_subnets(node):
        ours = ipaddress.ip_network(subnet, strict=False)
        text = node.host.read(f"{node.host.proc}/{ROUTES[ours.version]}")
        for link, route in routes_in(text or "", ours.version):
            if link != bridge and ours.overlaps(ipaddress.ip_network(route)):
                seen.append(failed(f"{place}: {subnet} overlaps with {route} on {link}"))
                break
        else:
            seen.append(passed(f"{place}: nobody else has {subnet}"))
    return worst(seen, skipped("no subnet is known"))


def _default_route(node: Node) -> Seen:
    links = {
        version: default_links(node.host.read(f"{node.host.proc}/{path}") or "", version)
        for version, path in ROUTES.items()
    }
    if not node.host.exists(f"{node.host.proc}/{ROUTES[4]}"):
        return skipped(f"{node.host.proc}/{ROUTES[4]} is not there")
    if not links[4] and not links[6]:
        return warned(f"{node.host.proc}/{ROUTES[4]}: no default route")
    return passed(f"default routes: {_by_link(links[4])} for IPv4, {_by_link(links[6])} for IPv6")


def _by_link(links: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(links)) or "none"


def _ipv6(node: Node) -> Seen:
    six = [subnet for subnet, _, _ in pod_subnets(node) if ":" in subnet]
    path = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
    value = node.host.word(path) or "not there"
    if not six:
        return skipped("no pods get IPv6 addresses")
    if node.has_ipv6():
        return passed(f"{path} is {value}")
    seen = f"{path} is {value}, and pods get addresses of {', '.join(six)}"
    return warned(seen) if node.networks.networks else passed(f"{seen}: left out here")


def _loopback(node: Node) -> Seen:
    path = "/sys/class/net/lo/flags"
    flags = node.host.word(path)
    if not flags:
        return skipped(f"{path} is not there")
    return (
        passed(f"{path} is {flags}") if int(flags, 16) & 1 else failed(f"{path} is {flags}: down")
    )


def _iptables(node: Node) -> Seen:
    """The built-in network and portmap write rules with it."""
    path = node.host.which("iptables")
    needs = not node.networks.networks or any(
        name in ("portmap", "firewall") for name, _, _ in _used(node)
    )
    if path:
        if not node.host.live:
            return passed(f"{path} is there")
        said = node.host.run(path, "--version")
        return failed(f"{path}: {said.problem}") if said.problem else passed(f"{path}: {said.line}")
    return failed("iptables is not installed") if needs else skipped("no network needs iptables")


CHECKS: Final = (
    Check(
        id="cni-conflists", group=GROUP, title="CNI networks", look=_conflists,
        why="pods that do not use the host's network are refused without one",
    ),
    Check(
        id="cni-plugins", group=GROUP, title="CNI plugins", look=_plugins, mend=INSTALL,
        why="pods of a network whose plugin is missing are refused",
    ),
    Check(
        id="cni-versions", group=GROUP, title="Versions of CNI plugins", look=_versions, slow=True,
        why="a plugin refuses a network of a version that it does not speak",
        mend="dnf upgrade containernetworking-plugins",
    ),
    Check(
        id="cni-host-ports", group=GROUP, title="Host ports", look=_host_ports, mend=INSTALL,
        why="pods with host ports are refused",
    ),
    Check(
        id="pod-subnets", group=GROUP, title="Subnets of pods", look=_overlaps,
        why="packets for pods or for the other network go astray",
        mend="choose a subnet that nobody uses",
    ),
    Check(
        id="default-route", group=GROUP, title="Default route", look=_default_route,
        why="the kubelet takes the node's address from it, and images come that way",
        mend="nmcli connection modify CONNECTION ipv4.gateway ADDRESS && nmcli connection up"
        " CONNECTION",
    ),
    Check(
        id="ipv6", group=GROUP, title="IPv6", look=_ipv6,
        why="the CNI plugin fails to give pods the addresses that its network has",
        mend="sysctl -w net.ipv6.conf.all.disable_ipv6=0",
    ),
    Check(
        id="loopback", group=GROUP, title="Loopback device", look=_loopback,
        why="kubelet and daemon talk to themselves by it", mend="ip link set lo up",
    ),
    Check(
        id="iptables", group=GROUP, title="iptables", look=_iptables, slow=True,
        why="host ports and masquerading are rules of it", mend="dnf install iptables-nft",
    ),
)  # fmt: skip
