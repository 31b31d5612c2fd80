"""Capability sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_container import Capabilities
from trilby.pods.spec.capabilities import build_capabilities
from trilby.pods.spec.inputs import DEFAULT_CAPABILITIES
from trilby.system.limits import CAPABILITIES


def bounding(asked: Capabilities | None, *, privileged: bool = False) -> set[str]:
    sets, warnings = build_capabilities(
        asked, DEFAULT_CAPABILITIES, CAPABILITIES, privileged=privileged
    )
    assert not warnings
    assert sets.bounding == sets.effective == sets.permitted
    assert not sets.inheritable and not sets.ambient
    return set(sets.bounding)


def test_the_defaults_plus_and_minus() -> None:
    assert bounding(None) == set(DEFAULT_CAPABILITIES)
    asked = Capabilities(add=("sys_time", "CAP_NET_RAW"), drop=("chown", "CAP_SYSLOG"))
    expected = (set(DEFAULT_CAPABILITIES) | {"CAP_SYS_TIME", "CAP_NET_RAW"}) - {"CAP_CHOWN"}
    assert bounding(asked) == expected


def test_all() -> None:
    assert bounding(Capabilities(drop=("all",), add=("NET_ADMIN",))) == {"CAP_NET_ADMIN"}
    assert bounding(Capabilities(add=("ALL",), drop=("SYS_ADMIN",))) == set(CAPABILITIES) - {
        "CAP_SYS_ADMIN"
    }
    assert bounding(Capabilities(add=("ALL",), drop=("ALL",))) == set()
    assert bounding(Capabilities(drop=("ALL",)), privileged=True) == set(CAPABILITIES)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidPodConfig, match="FLYING"):
        bounding(Capabilities(add=("FLYING",)))


def test_what_the_host_lacks_is_left_out_and_told() -> None:
    here = set(CAPABILITIES) - {"CAP_SYS_RESOURCE", "CAP_CHOWN"}
    asked = Capabilities(add=("SYS_RESOURCE",))
    sets, warnings = build_capabilities(asked, DEFAULT_CAPABILITIES, here)
    assert "CAP_SYS_RESOURCE" not in sets.bounding
    assert len(warnings) == 2
    assert "CAP_SYS_RESOURCE" in warnings[0] and "CAP_CHOWN" in warnings[1]


def test_ambient_is_also_inheritable() -> None:
    asked = Capabilities(drop=("ALL",), add_ambient=("NET_RAW",))
    sets, _ = build_capabilities(asked, DEFAULT_CAPABILITIES, CAPABILITIES)
    assert sets.ambient == sets.inheritable == sets.bounding == ("CAP_NET_RAW",)


NAMES = st.lists(st.sampled_from([*CAPABILITIES, "ALL"]), max_size=5).map(tuple)


@given(NAMES, NAMES, NAMES, st.sets(st.sampled_from(CAPABILITIES)), st.booleans())
def test_never_more_than_the_host_has(
    add: tuple[str, ...],
    drop: tuple[str, ...],
    ambient: tuple[str, ...],
    here: set[str],
    privileged: bool,
) -> None:
    asked = Capabilities(add=add, drop=drop, add_ambient=ambient)
    sets, _ = build_capabilities(asked, DEFAULT_CAPABILITIES, here, privileged=privileged)
    assert set(sets.bounding) <= here
    assert set(sets.ambient) <= set(sets.inheritable) <= set(sets.permitted)
    if not privileged:
        assert not set(sets.bounding) & set(drop)
