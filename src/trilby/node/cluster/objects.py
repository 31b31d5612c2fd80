"""The objects of Kubernetes' API that are looked at, as far as they are: v1, and kubeadm's."""

from __future__ import annotations

import msgspec

__all__ = [
    "ConfigMap", "Condition", "Metadata", "NodeList", "NodeObject", "PodList", "PodObject",
    "ServiceRanges", "Version",
]  # fmt: skip


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    labels: dict[str, str] | None = None
    creation_timestamp: str = ""


class ListMetadata(msgspec.Struct, frozen=True, rename={"next": "continue"}):
    next: str = ""


class Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str = ""


class Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str | None = ""
    message: str | None = ""


class Address(msgspec.Struct, frozen=True):
    type: str
    address: str


class NodeSpec(msgspec.Struct, frozen=True, rename={"pod_cidrs": "podCIDRs"}):
    pod_cidrs: tuple[str, ...] | None = None
    unschedulable: bool | None = False


class NodeInfo(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_version: str = ""
    container_runtime_version: str = ""
    os_image: str = ""
    kernel_version: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    port: int = msgspec.field(name="Port", default=0)


class Endpoints(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_endpoint: Endpoint = Endpoint()


class NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    addresses: tuple[Address, ...] | None = None
    conditions: tuple[Condition, ...] | None = None
    node_info: NodeInfo = NodeInfo()
    daemon_endpoints: Endpoints = Endpoints()


class NodeObject(msgspec.Struct, frozen=True):
    metadata: Metadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    def ready(self) -> Condition | None:
        return next((each for each in self.status.conditions or () if each.type == "Ready"), None)


class NodeList(msgspec.Struct, frozen=True):
    items: tuple[NodeObject, ...] | None = None
    metadata: ListMetadata = ListMetadata()


class Container(msgspec.Struct, frozen=True):
    name: str = ""
    image: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""
    containers: tuple[Container, ...] = ()


class PodStatus(msgspec.Struct, frozen=True):
    phase: str = ""
    conditions: tuple[Condition, ...] | None = None


class PodObject(msgspec.Struct, frozen=True):
    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def is_ready(self) -> bool:
        return any(
            each.type == "Ready" and each.status == "True"
            for each in self.status.conditions or ()
        )  # fmt: skip


class PodList(msgspec.Struct, frozen=True):
    items: tuple[PodObject, ...] | None = None


class ConfigMap(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


class ServiceRangeSpec(msgspec.Struct, frozen=True):
    cidrs: tuple[str, ...] | None = None


class ServiceRange(msgspec.Struct, frozen=True):
    spec: ServiceRangeSpec = ServiceRangeSpec()


class ServiceRanges(msgspec.Struct, frozen=True):
    """A list of networking.k8s.io/v1 ServiceCIDR."""

    items: tuple[ServiceRange, ...] | None = None
