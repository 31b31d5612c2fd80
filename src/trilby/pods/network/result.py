"""Results of CNI plugins, in the versions 0.3.1 to 1.1.0, and what a pod's addresses are.

The object that a plugin gave is kept as it is: the next plugin gets it as ``prevResult``.
"""

from __future__ import annotations

import copy
import ipaddress

import msgspec

from trilby.oci.codec import JsonValue
from trilby.pods.network.conflist import at_least
from trilby.pods.network.document import JsonObject

NEW_IN_1_1 = {
    "interfaces": ("mtu", "socketPath", "pciID"),
    "routes": ("mtu", "advmss", "priority", "table", "scope"),
}


class Interface(msgspec.Struct, frozen=True):
    """``sandbox`` is the path of a network namespace; empty: on the host."""

    name: str
    mac: str = ""
    sandbox: str = ""


class Address(msgspec.Struct, frozen=True):
    """An address with its prefix length, such as 10.87.0.5/16; ``interface`` is an index."""

    address: str
    interface: int | None = None
    gateway: str = ""

    @property
    def ip(self) -> str:
        return self.address.partition("/")[0]


class NetworkResult(msgspec.Struct, frozen=True):
    """What an ADD made. ``document`` is the plugin's own JSON object."""

    version: str
    interfaces: tuple[Interface, ...]
    addresses: tuple[Address, ...]
    document: JsonObject

    def pod_ips(self, ifname: str = "") -> tuple[str, ...]:
        """The addresses inside the pod, in the plugin's order (the first is primary)."""
        found = []
        for address in self.addresses:
            if address.interface is not None and address.interface < len(self.interfaces):
                interface = self.interfaces[address.interface]
                if not interface.sandbox or (ifname and interface.name != ifname):
                    continue
            found.append(address.ip)
        return tuple(dict.fromkeys(found))


def parse_result(document: JsonValue) -> NetworkResult:
    """Understand a result object of version 0.3.1 or newer. Raises ``ValueError``."""
    if not isinstance(document, dict):
        raise ValueError("the result is not a JSON object")
    version = document.get("cniVersion", "")
    if not isinstance(version, str) or not at_least(version, "0.3.0"):
        raise ValueError(f"the result's cniVersion {version!r} is not 0.3.0 or newer")
    interfaces = tuple(
        Interface(_text(item, "name"), _text(item, "mac"), _text(item, "sandbox"))
        for item in _objects(document, "interfaces")
    )
    addresses = tuple(
        Address(_address(item), _index(item), _text(item, "gateway"))
        for item in _objects(document, "ips")
    )
    return NetworkResult(version, interfaces, addresses, document)


def as_version(result: NetworkResult, version: str) -> JsonObject:
    """The result's object in another version: for ``prevResult`` after a configuration changed."""
    if result.version == version:
        return result.document
    converted = copy.deepcopy(result.document)
    converted["cniVersion"] = version
    for item in _objects(converted, "ips"):
        item.pop("version", None)
        if not at_least(version, "1.0.0"):
            item["version"] = "6" if ":" in _text(item, "address") else "4"
    if not at_least(version, "1.1.0"):
        for key, names in NEW_IN_1_1.items():
            for item in _objects(converted, key):
                for name in names:
                    item.pop(name, None)
    return converted


def _objects(document: JsonObject, key: str) -> list[JsonObject]:
    items = document.get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise ValueError(f"the result's {key!r} is not a list")
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) != len(items):
        raise ValueError(f"the result's {key!r} holds something that is not an object")
    return objects


def _text(item: JsonObject, key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""


def _address(item: JsonObject) -> str:
    """Checked, because it goes into files and statuses from here."""
    text = _text(item, "address")
    ipaddress.ip_interface(text)
    return text


def _index(item: JsonObject) -> int | None:
    value = item.get("interface")
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
