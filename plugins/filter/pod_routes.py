"""Where the pods of other nodes are, out of those nodes' variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible.errors import AnsibleFilterError

__all__ = ["FilterModule", "pod_routes"]


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, object]:
        return {"pod_routes": pod_routes}


def pod_routes(nodes: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """trilby_network_routes: each subnet of each node, by the address that Ansible has of it."""
    routes: list[dict[str, object]] = []
    for node in nodes:
        subnets = node.get("trilby_network_subnets")
        if not isinstance(subnets, list):
            raise AnsibleFilterError(
                f"{node.get('inventory_hostname')} has no trilby_network_subnets of its own"
            )
        gateway = node.get("ansible_host") or node.get("inventory_hostname")
        routes += [{"subnet": subnet, "gateway": gateway} for subnet in subnets]
    return routes
