"""The kernel's routes as /proc/net/route and /proc/net/ipv6_route tell them."""

from __future__ import annotations

import sys

import msgspec

__all__ = ["Route", "default_links", "networks_in", "routes_in"]

_NOWHERE = "lo"


class Route(msgspec.Struct, frozen=True):
    """``direct``: the network is that of the link itself, no gateway is in between."""

    link: str
    subnet: str
    direct: bool


def routes_in(text: str, version: int) -> list[tuple[str, str]]:
    """(link, subnet) of routes to networks, without default routes and single hosts."""
    return [(route.link, route.subnet) for route in networks_in(text, version)]


def networks_in(text: str, version: int) -> list[Route]:
    """Routes to networks, without default routes and single hosts."""
    if version == 4:
        lines = [line.split() for line in text.splitlines()[1:]]
        return [
            Route(line[0], _v4(line[1], line[7]), line[2] == "00000000")
            for line in lines
            if line[7] not in ("00000000", "FFFFFFFF")
        ]
    return [
        Route(line[9], f"{_v6(line[0])}/{int(line[1], 16)}", not int(line[4], 16))
        for line in map(str.split, text.splitlines())
        # ff00::/8 and fe80::/10 are everybody's.
        if 0 < int(line[1], 16) < 128
        and not line[0].startswith(("ff", "fe8"))
        and line[9] != _NOWHERE
    ]


def default_links(text: str, version: int) -> list[str]:
    """The links of default routes."""
    if version == 4:
        lines = [line.split() for line in text.splitlines()[1:]]
        return [line[0] for line in lines if line[1] == line[7] == "00000000"]
    lines = [line.split() for line in text.splitlines()]
    return [
        line[9]
        for line in lines
        if int(line[0], 16) == int(line[1], 16) == 0 and line[9] != _NOWHERE
    ]


def _v4(address: str, mask: str) -> str:
    """Both are in the host's byte order."""
    import socket

    octets = int(address, 16).to_bytes(4, sys.byteorder)
    return f"{socket.inet_ntoa(octets)}/{int(mask, 16).bit_count()}"


def _v6(address: str) -> str:
    import socket

    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))
