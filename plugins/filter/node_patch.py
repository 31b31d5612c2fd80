"""What a cluster has to be told of a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["FilterModule", "node_patch"]


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, object]:
        return {"node_patch": node_patch}


def node_patch(
    node: Mapping[str, object],
    labels: Mapping[str, object],
    taints: Iterable[Mapping[str, object]],
    subnets: Iterable[str] = (),
    unwanted: Iterable[str] = (),
) -> dict[str, object]:
    """A patch of a Node of the API, as a merge patch; empty when it is all as it should be.

    Labels and taints that are not named stay; taints with a key of ``unwanted`` go. A node that
    has addresses for its pods keeps them: the API lets nobody change them.
    """
    metadata, spec = _mapping(node.get("metadata")), _mapping(node.get("spec"))
    known = _mapping(metadata.get("labels"))
    missing = {key: str(value) for key, value in labels.items() if known.get(key) != str(value)}
    change: dict[str, object] = {}
    wanted = [
        {key: str(each[key]) for key in ("key", "value", "effect") if each.get(key)}
        for each in taints
    ]
    before = spec.get("taints") or []
    assert isinstance(before, list)
    gone = set(unwanted)
    kept = [each for each in before if each.get("key") not in gone]
    missed = any(taint not in [_plain(each) for each in kept] for taint in wanted)
    if missed or kept != before:
        named = {(each["key"], each["effect"]) for each in wanted}
        others = [each for each in kept if (each.get("key"), each.get("effect")) not in named]
        change["taints"] = [*others, *wanted]
    ranges = list(subnets)
    if ranges and not spec.get("podCIDR"):
        change |= {"podCIDR": ranges[0], "podCIDRs": ranges}
    patch: dict[str, object] = {}
    if missing:
        patch["metadata"] = {"labels": missing}
    if change:
        patch["spec"] = change
    return patch


def _plain(taint: Mapping[str, object]) -> dict[str, str]:
    return {key: str(taint[key]) for key in ("key", "value", "effect") if taint.get(key)}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
