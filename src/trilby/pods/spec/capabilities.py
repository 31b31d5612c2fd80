"""A container's capability sets, by the rules of the Kubernetes CRI."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from trilby.oci.runtime import Capabilities
from trilby.pods import model_container
from trilby.pods.errors import InvalidPodConfig
from trilby.system.limits import CAPABILITIES

ALL = "ALL"


def build_capabilities(
    asked: model_container.Capabilities | None,
    defaults: Collection[str],
    available: Collection[str],
    *,
    privileged: bool = False,
    inheritable: bool = False,
) -> tuple[Capabilities, tuple[str, ...]]:
    """The sets, and a warning per group that is wanted but not ``available``.

    ALL in add or drop replaces the defaults; single names are added after that, then single names
    are dropped. Unless asked for as ambient, a process that is not root has none after its exec,
    as Kubernetes wants. ``inheritable`` is CRI-O's add_inheritable_capabilities.
    """
    asked = asked or model_container.Capabilities()
    added, dropped = normalize(asked.add), normalize(asked.drop)
    ambient = normalize(asked.add_ambient)
    if privileged or (ALL in added and ALL not in dropped):
        wanted = set(CAPABILITIES)
    elif ALL in dropped:
        wanted = set()
    else:
        wanted = set(normalize(defaults))
    explicit = {*added, *ambient} - {ALL}
    if not privileged:
        wanted = (wanted | explicit) - set(dropped)
    if ALL in ambient:
        ambient = tuple(CAPABILITIES)
    ambient = tuple(name for name in ambient if name in wanted)
    missing = wanted - set(available)
    granted = _ordered(wanted - missing)
    raised = tuple(name for name in _ordered(ambient) if name in granted)
    sets = Capabilities(
        bounding=granted,
        effective=granted,
        permitted=granted,
        inheritable=granted if inheritable else raised,
        ambient=raised,
    )
    return sets, _warnings(missing, explicit)


def normalize(names: Iterable[str]) -> tuple[str, ...]:
    """Names as ``CAP_SYS_ADMIN``, or ``ALL``. Raises ``InvalidPodConfig`` for unknown ones."""
    known = []
    for name in names:
        upper = name.strip().upper()
        if upper not in (ALL, "CAP_ALL"):
            upper = upper if upper.startswith("CAP_") else f"CAP_{upper}"
            if upper not in CAPABILITIES:
                raise InvalidPodConfig(f"unknown capability {name!r}", hint="see capabilities(7)")
        known.append(ALL if upper == "CAP_ALL" else upper)
    return tuple(known)


def _ordered(names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in CAPABILITIES if name in names)


def _warnings(missing: Collection[str], explicit: Collection[str]) -> tuple[str, ...]:
    """What was asked for by name is told one by one, what came with a whole set in one line."""
    said = [
        f"capability {name} left out: this host does not have it"
        for name in _ordered(set(missing) & set(explicit))
    ]
    rest = _ordered(set(missing) - set(explicit))
    if rest:
        said.append(f"capabilities left out: this host does not have {', '.join(rest)}")
    return tuple(said)
