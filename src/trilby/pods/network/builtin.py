"""The network of a host that has no CNI configuration: a bridge with private addresses."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from trilby.oci.codec import JsonValue
from trilby.pods.network.conflist import Conflist, parse_conflist
from trilby.pods.network.document import JsonObject


class BuiltinNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """The bridge's settings. ``data_dir`` is host-local's (empty: its own default).

    An empty ``subnet_v6`` means IPv4 only. ``firewall`` adds the plugin that asks firewalld or
    iptables to let the pods' packets through.
    """

    name: str = "trilby"
    bridge: str = "trilby0"
    subnet_v4: str = "10.87.0.0/16"
    subnet_v6: str = "fd74:7269:6c62::/64"
    data_dir: str = ""
    firewall: bool = False


@lru_cache(maxsize=4)
def builtin_conflist(settings: BuiltinNetwork, *, host_ports: bool) -> Conflist:
    """The conflist; portmap is part of it only for a pod that has host ports.

    That saves a process per ADD and DEL. The chain that a pod was attached by is in the result
    cache, so its DEL runs the same plugins. Masquerading is done by masquerade.py.
    """
    plugins: list[JsonValue] = [_bridge(settings)]
    if host_ports:
        plugins.append({"type": "portmap", "snat": True, "capabilities": {"portMappings": True}})
    if settings.firewall:
        plugins.append({"type": "firewall"})
    document: JsonObject = {
        "cniVersion": "1.0.0",
        "name": settings.name,
        # portmap's CHECK (seen in 1.1) looks for its rules in both families, and fails.
        "disableCheck": host_ports,
        "plugins": plugins,
    }
    return parse_conflist(msgspec.json.encode(document), "")


def _bridge(settings: BuiltinNetwork) -> JsonObject:
    subnets = [settings.subnet_v4] + ([settings.subnet_v6] if settings.subnet_v6 else [])
    ranges: list[JsonValue] = [[{"subnet": subnet}] for subnet in subnets]
    routes: list[JsonValue] = [{"dst": "::/0" if ":" in net else "0.0.0.0/0"} for net in subnets]
    ipam: JsonObject = {"type": "host-local", "ranges": ranges, "routes": routes}
    if settings.data_dir:
        ipam["dataDir"] = settings.data_dir
    return {
        "type": "bridge",
        "bridge": settings.bridge,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "capabilities": {"ips": True, "mac": True},
        "ipam": ipam,
    }


def host_has_ipv6() -> bool:
    """True when the kernel speaks IPv6 and it is not switched off."""
    try:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6") as file:
            return file.read().strip() == "0"
    except OSError:
        return False
