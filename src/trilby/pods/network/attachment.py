"""What a pod wants from its network, and how CNI is told: arguments and runtimeConfig."""

from __future__ import annotations

import ipaddress

import msgspec

from trilby.oci.codec import JsonValue
from trilby.pods.model_sandbox import DNSConfig, PortMapping
from trilby.pods.network.document import JsonObject
from trilby.pods.network.errors import InvalidAttachment

IPS_ANNOTATION = "io.trilby.network.ips"
MAC_ANNOTATION = "io.trilby.network.mac"
INGRESS_ANNOTATION = "kubernetes.io/ingress-bandwidth"
EGRESS_ANNOTATION = "kubernetes.io/egress-bandwidth"

# The most that the bandwidth plugin takes as a burst: its own field is 32 bits of bytes.
LARGEST_BURST = 0xFFFFFFFF
_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_SUFFIXES |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """One pod's place on the network. ``netns`` is the path of its namespace.

    Of ``annotations`` these count: the Kubernetes bandwidth annotations (bits per second), and
    ``io.trilby.network.ips`` (comma separated) and ``io.trilby.network.mac`` for fixed addresses.
    """

    sandbox_id: str
    netns: str
    name: str = ""
    namespace: str = ""
    uid: str = ""
    ifname: str = "eth0"
    port_mappings: tuple[PortMapping, ...] = ()
    dns: DNSConfig | None = None
    annotations: dict[str, str] = {}
    cgroup_path: str = ""

    @property
    def host_ports(self) -> tuple[PortMapping, ...]:
        return tuple(port for port in self.port_mappings if port.host_port)


def cni_args(attachment: Attachment) -> tuple[tuple[str, str], ...]:
    """CNI_ARGS in the convention of Kubernetes runtimes."""
    return (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", attachment.namespace),
        ("K8S_POD_NAME", attachment.name),
        ("K8S_POD_INFRA_CONTAINER_ID", attachment.sandbox_id),
        ("K8S_POD_UID", attachment.uid),
    )


def capability_args(attachment: Attachment) -> JsonObject:
    """Values for plugins' capabilities; only those that have something to say.

    Raises ``InvalidAttachment`` for annotations that cannot be understood.
    """
    values: JsonObject = {}
    if attachment.host_ports:
        values["portMappings"] = [_port(port) for port in attachment.host_ports]
    if bandwidth := _bandwidth(attachment.annotations):
        values["bandwidth"] = bandwidth
    if attachment.dns and (attachment.dns.servers or attachment.dns.searches):
        values["dns"] = {
            "servers": list(attachment.dns.servers),
            "searches": list(attachment.dns.searches),
            "options": list(attachment.dns.options),
        }
    if ips := attachment.annotations.get(IPS_ANNOTATION):
        values["ips"] = [_address(ip.strip()) for ip in ips.split(",")]
    if mac := attachment.annotations.get(MAC_ANNOTATION):
        values["mac"] = mac
    if attachment.annotations:
        annotations: JsonObject = dict(attachment.annotations)
        values["io.kubernetes.cri.pod-annotations"] = annotations
    if attachment.cgroup_path:
        values["cgroupPath"] = attachment.cgroup_path
    return values


def _port(port: PortMapping) -> JsonValue:
    return {
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol.value.lower(),
        "hostIP": port.host_ip,
    }


def _address(text: str) -> str:
    try:
        ipaddress.ip_interface(text)
    except ValueError as error:
        raise InvalidAttachment(f"annotation {IPS_ANNOTATION}: {error}") from None
    return text


def _bandwidth(annotations: dict[str, str]) -> JsonObject:
    values: JsonObject = {}
    for way, name in (("ingress", INGRESS_ANNOTATION), ("egress", EGRESS_ANNOTATION)):
        if name in annotations:
            values[f"{way}Rate"] = _rate(name, annotations[name])
            values[f"{way}Burst"] = LARGEST_BURST
    return values


def _rate(name: str, text: str) -> int:
    """Bits per second from a Kubernetes quantity such as 10M; allowed are 1k to 1P."""
    number = text.rstrip("kKMGTPi")
    try:
        rate = int(float(number) * _SUFFIXES[text[len(number) :]])
    except (KeyError, ValueError, OverflowError):
        raise InvalidAttachment(
            f"annotation {name}: {text!r} is not a rate", hint="write it like 10M"
        ) from None
    if not 1000 <= rate <= 10**15:
        raise InvalidAttachment(f"annotation {name}: {text!r} is not between 1k and 1P")
    return rate
