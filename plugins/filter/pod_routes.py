"""Where nodes and the pods of other nodes are, out of those nodes' variables."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from ansible.errors import AnsibleFilterError

__all__ = ["FilterModule", "node_addresses", "pod_routes"]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, object]:
        return {"node_addresses": node_addresses, "pod_routes": pod_routes}


def node_addresses(nodes: Iterable[Mapping[str, object]], like: str = "") -> list[str]:
    """The first address of each node, by which the others reach it; of the kind of another one."""
    return [_like(_addresses(node), like) for node in nodes]


def pod_routes(nodes: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """trilby_network_routes: each subnet of each node, by its address of the same kind."""
    routes: list[dict[str, object]] = []
    for node in nodes:
        subnets = node.get("trilby_network_subnets")
        if not isinstance(subnets, list):
            raise AnsibleFilterError(
                f"{node.get('inventory_hostname')} has no trilby_network_subnets of its own"
            )
        addresses = _addresses(node)
        routes += [{"subnet": subnet, "gateway": _like(addresses, subnet)} for subnet in subnets]
    return routes


def _like(addresses: list[str], other: str) -> str:
    """The first of the same kind as another address or a subnet; the first, if there is none."""
    same = [each for each in addresses if (":" in each) == (":" in other)]
    return (same if other and same else addresses)[0]


def _addresses(node: Mapping[str, object]) -> list[str]:
    """What is said, or else the address that Ansible has, or else what the host was seen with."""
    said = node.get("trilby_node_addresses")
    if isinstance(said, list) and said:
        return [str(each) for each in said]
    host = str(node.get("ansible_host") or "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        facts = node.get("ansible_facts")
        default = facts.get("default_ipv4") if isinstance(facts, Mapping) else None
        seen = default.get("address") if isinstance(default, Mapping) else None
        return [str(seen or host or node.get("inventory_hostname"))]
    return [host]
