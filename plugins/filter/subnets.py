"""Which subnets have addresses in common."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from ansible.errors import AnsibleFilterError

__all__ = ["FilterModule", "outside", "overlapping"]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, object]:
        return {"outside": outside, "overlapping": overlapping}


def outside(subnets: Iterable[str], wholes: Iterable[str]) -> list[str]:
    """Those subnets that are part of none of the wholes."""
    all_of = [_network(whole) for whole in wholes]
    return [str(each) for each in subnets if not any(_within(_network(each), a) for a in all_of)]


def overlapping(subnets: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those subnets that have an address in common with one of the others."""
    all_of = [_network(other) for other in others]
    return [str(each) for each in subnets if any(_network(each).overlaps(a) for a in all_of)]


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError as error:
        raise AnsibleFilterError(f"{text} is no subnet: {error}") from error


def _within(
    part: ipaddress.IPv4Network | ipaddress.IPv6Network,
    whole: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> bool:
    same = part.version == whole.version
    return same and part.overlaps(whole) and part.prefixlen >= whole.prefixlen
