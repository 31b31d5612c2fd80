"""Kubernetes' API, as far as checks ask it: by a kubeconfig, and what each of its users may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from trilby.node.cluster.https import Https
from trilby.node.cluster.kubeconfig import Kubeconfig, kubelet_kubeconfig, load_kubeconfig
from trilby.node.cluster.objects import (
    ConfigMap,
    NodeList,
    NodeObject,
    PodList,
    PodObject,
    ServiceRanges,
    Version,
)
from trilby.node.errors import NoCluster
from trilby.system.certificates import certificate_name

if TYPE_CHECKING:
    from trilby.node.host import Host
    from trilby.node.node import Node

__all__ = ["Api", "api_of", "kubelet_api", "node_name"]

PAGE: Final = 500
SYSTEM_NODE: Final = "system:node:"


class Api:
    """Methods raise PeerUnreachable and PeerRefused."""

    def __init__(self, host: Host, config: Kubeconfig) -> None:
        self.config = config
        self.https = Https(
            host=host,
            server=config.server,
            authority=config.authority,
            certificate=config.certificate,
            key=config.key,
            token=config.token,
            server_name=config.server_name,
            verify=config.verify,
        )

    def version(self) -> str:
        """Of the API server, as v1.36.3."""
        return self.https.read("/version", Version).git_version

    def node(self, name: str) -> NodeObject:
        return self.https.read(f"/api/v1/nodes/{quote(name)}", NodeObject)

    def nodes(self) -> list[NodeObject]:
        """All of them, by name; in pages."""
        found: list[NodeObject] = []
        after = ""
        while True:
            path = f"/api/v1/nodes?limit={PAGE}"
            if after:
                path += f"&continue={quote(after, safe='')}"
            page = self.https.read(path, NodeList)
            found += page.items or ()
            after = page.metadata.next
            if not after:
                return sorted(found, key=lambda each: each.metadata.name)

    def control_plane_pods(self) -> list[PodObject]:
        """The mirror pods of kubeadm's static pods."""
        path = "/api/v1/namespaces/kube-system/pods?labelSelector=tier%3Dcontrol-plane"
        return list(self.https.read(path, PodList).items or ())

    def kubeadm_configuration(self) -> str:
        """The YAML of ClusterConfiguration, which nodes may read too."""
        path = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
        return (self.https.read(path, ConfigMap).data or {}).get("ClusterConfiguration", "")

    def service_ranges(self) -> tuple[str, ...]:
        """The ServiceCIDRs; from v1.33 on, and not for nodes."""
        found = self.https.read("/apis/networking.k8s.io/v1/servicecidrs", ServiceRanges)
        return tuple(cidr for each in found.items or () for cidr in each.spec.cidrs or ())


def api_of(host: Host, path: str) -> Api:
    """Raises NoCluster, ConfigError, OSError."""
    return Api(host, load_kubeconfig(host, path))


def kubelet_api(node: Node) -> Api | None:
    """As the kubelet asks; None on a host that is in no cluster."""
    path = kubelet_kubeconfig(node.host)
    return api_of(node.host, path) if node.host.exists(path) else None


def node_name(api: Api) -> str:
    """Who the kubelet says it is. Raises NoCluster, ValueError."""
    name = certificate_name(api.config.certificate) if api.config.certificate else ""
    if not name.startswith(SYSTEM_NODE):
        raise NoCluster(f"{api.config.path}: its certificate names no node, but {name or 'nobody'}")
    return name.removeprefix(SYSTEM_NODE)
