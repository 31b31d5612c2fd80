"""Address ranges of a cluster, and whether they are somebody else's on this host."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.checks.network import pod_subnets
from trilby.node.cluster.component import API_SERVER, CONTROLLERS, component
from trilby.node.errors import NoCluster, PeerRefused
from trilby.node.model import Seen, failed, passed, warned
from trilby.system.routes import networks_in

if TYPE_CHECKING:
    from trilby.node.cluster.api import Api
    from trilby.node.node import Node

__all__ = ["PODS", "SERVICES", "Network", "Range", "apart", "of_api", "of_control_plane", "of_host"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PODS: Final = "pods"
SERVICES: Final = "services"
ROUTES: Final = {4: "net/route", 6: "net/ipv6_route"}
#: Links that network providers and kube-proxy make for pods and services.
POD_LINKS: Final = (
    *("cni", "veth", "cali", "flannel", "cilium", "lxc", "vxlan", "tunl", "kube-", "nodelocaldns"),
    *("antrea", "weave", "ovn", "*"),
)


class Range(msgspec.Struct, frozen=True):
    """``what`` is PODS or SERVICES, ``where`` says who says so."""

    network: Network
    what: str
    where: str


def ranges_in(text: str, what: str, where: str) -> Iterator[Range]:
    """Of a list with commas. Raises ValueError."""
    for each in filter(None, (part.strip() for part in text.split(","))):
        yield Range(ipaddress.ip_network(each), what, where)


def of_control_plane(node: Node) -> list[Range]:
    """What the flags of the control plane's programs here say. Raises ConfigError, ValueError."""
    found: list[Range] = []
    for name, flag, what in (
        (CONTROLLERS, "cluster-cidr", PODS),
        (API_SERVER, "service-cluster-ip-range", SERVICES),
    ):
        program = component(node, name)
        if program:
            found += ranges_in(program.flags.get(flag, ""), what, program.told(flag))
    return found


def of_api(api: Api, name: str) -> list[Range]:
    """What a node may know: kubeadm's configuration, else its own range and ServiceCIDRs.

    Raises PeerUnreachable, ValueError.
    """
    found = _of_kubeadm(api)
    if not any(each.what == PODS for each in found):
        for each in api.node(name).spec.pod_cidrs or ():
            found += ranges_in(each, PODS, f"node {name}: podCIDRs has {each}")
    if not any(each.what == SERVICES for each in found):
        try:
            for each in api.service_ranges():
                found += ranges_in(each, SERVICES, f"a ServiceCIDR is {each}")
        except PeerRefused:
            pass  # nodes are told by kubeadm's configuration alone
    return found


def _of_kubeadm(api: Api) -> list[Range]:
    import yaml

    try:
        text = api.kubeadm_configuration()
    except PeerRefused:
        return []
    try:
        document: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise NoCluster(f"kubeadm-config: {' '.join(str(error).split())}") from None
    network = document.get("networking") if isinstance(document, dict) else None
    found: list[Range] = []
    for key, what in (("podSubnet", PODS), ("serviceSubnet", SERVICES)):
        value = network.get(key) if isinstance(network, dict) else None
        if isinstance(value, str):
            found += ranges_in(value, what, f"kubeadm-config: {key} is {value}")
    return found


def apart(ranges: list[Range]) -> list[Seen]:
    """Whether pods and services have different addresses."""
    services = [each for each in ranges if each.what == SERVICES]
    return [
        failed(
            f"{each.where}",
            f"{service.where}",
            f"{each.network} of pods overlaps with {service.network} of services",
        )
        for each in ranges
        if each.what == PODS
        for service in services
        if _overlap(each.network, service.network)
    ]


def of_host(node: Node, ranges: list[Range]) -> list[Seen]:
    """Whether links, addresses and routes of the host are outside of all ranges."""
    bridges = {bridge for _, _, bridge in pod_subnets(node)}
    seen: list[Seen] = []
    for each in ranges:
        bad = [*_links(node, each, bridges), *_addresses(node, each, bridges)]
        seen += bad or [passed(f"{each.where}: nobody else has {each.network}")]
    return seen


def _links(node: Node, each: Range, bridges: set[str]) -> Iterable[Seen]:
    version = each.network.version
    text = node.host.read(f"{node.host.proc}/{ROUTES[version]}") or ""
    for route in networks_in(text, version):
        other = ipaddress.ip_network(route.subnet)
        if _is_for_pods(route.link, bridges) or not _overlap(each.network, other):
            continue
        said = f"{each.where}: {each.network} of {each.what} overlaps with {other} on {route.link}"
        if route.direct:
            yield failed(said)
        elif each.what != PODS or not _inside(other, each.network):
            # A route into the range of pods is the way to another node's.
            yield warned(f"{said}, which goes by a gateway")


class _LinkAddress(msgspec.Struct, frozen=True):
    local: str = ""


class _Link(msgspec.Struct, frozen=True):
    ifname: str = ""
    addr_info: tuple[_LinkAddress, ...] = ()


def _addresses(node: Node, each: Range, bridges: set[str]) -> Iterable[Seen]:
    program = node.host.which("ip") if node.host.live else ""
    said = node.host.run(program, "-json", "address").text if program else "[]"
    try:
        links = msgspec.json.decode(said.encode() or b"[]", type=tuple[_Link, ...])
    except msgspec.DecodeError as error:
        raise ValueError(f"ip -json address: {error}") from None
    for link in links:
        if _is_for_pods(link.ifname, bridges):
            continue
        for address in link.addr_info:
            if address.local and ipaddress.ip_address(address.local) in each.network:
                yield failed(
                    f"{each.where}: {each.network} of {each.what} has the host's own"
                    f" {address.local} on {link.ifname}"
                )


def _is_for_pods(link: str, bridges: set[str]) -> bool:
    return link in bridges or link.startswith(POD_LINKS)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _inside(inner: Network, outer: Network) -> bool:
    first, last = inner.network_address, inner.broadcast_address
    return first in outer and last in outer
