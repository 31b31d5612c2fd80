"""What a host may give, from recorded facts, and the clamps."""

from __future__ import annotations

import os
import resource

import pytest

from trilby.system.cgroup_mounts import Hierarchies
from trilby.system.limits import (
    CAPABILITIES,
    UNLIMITED,
    HostLimits,
    Rlimit,
    capability_names,
    host_limits,
    limits_from,
    page_size,
)

STATUS = "Name:\tx\nCapInh:\t0\nCapPrm:\t{0}\nCapEff:\t{0}\nCapBnd:\t{0}\nCapAmb:\t0\n"
FULL = "000001ffffffffff"
NO_RESOURCE = "000001fffeffffff"


def limits(mask: str = NO_RESOURCE, **v1: str) -> HostLimits:
    return limits_from(
        STATUS.format(mask),
        100,
        {"RLIMIT_NOFILE": 20000},
        Hierarchies("v1", v1, "", frozenset()),
        frozenset({"2MB"}),
    )


def test_capability_numbers() -> None:
    # From linux/capability.h: the ends, and one in the middle.
    assert len(CAPABILITIES) == 41
    assert CAPABILITIES[0] == "CAP_CHOWN"
    assert CAPABILITIES[24] == "CAP_SYS_RESOURCE"
    assert CAPABILITIES[40] == "CAP_CHECKPOINT_RESTORE"
    assert capability_names(1 << 21 | 1 << 60) == {"CAP_SYS_ADMIN"}


def test_without_sys_resource_everything_is_clamped() -> None:
    here = limits()
    assert here.clamp_oom_score(-998) == (
        100,
        "oom_score_adj -998 is raised to 100: CAP_SYS_RESOURCE is not available here",
    )
    assert here.clamp_oom_score(100) == (100, None)
    kept, warning = here.clamp_capabilities(["CAP_CHOWN", "CAP_SYS_RESOURCE"])
    assert kept == ["CAP_CHOWN"]
    assert warning == "capabilities CAP_SYS_RESOURCE are not available here"
    given, warning = here.clamp_rlimit("RLIMIT_NOFILE", Rlimit(1024, UNLIMITED))
    assert given == Rlimit(1024, 20000)
    assert warning and "lowered to 20000" in warning
    assert here.clamp_rlimit("RLIMIT_CORE", Rlimit(0, UNLIMITED)) == (Rlimit(0, UNLIMITED), None)
    assert here.clamp_hugepages(["2MB"])[0] == []


def test_with_everything_nothing_is_clamped() -> None:
    here = limits(FULL, hugetlb="/nowhere")
    assert here.clamp_oom_score(-998) == (-998, None)
    assert here.clamp_capabilities(CAPABILITIES) == (list(CAPABILITIES), None)
    limit = Rlimit(UNLIMITED, UNLIMITED)
    assert here.clamp_rlimit("RLIMIT_NOFILE", limit) == (limit, None)
    assert here.clamp_hugepages(["2MB"]) == (["2MB"], None)
    assert here.clamp_hugepages(["1GB"])[1]


@pytest.mark.parametrize(
    ("size", "text"), [(65536, "64KB"), (2 << 20, "2MB"), (1 << 30, "1GB"), (32 << 20, "32MB")]
)
def test_page_sizes(size: int, text: str) -> None:
    assert page_size(size) == text


def test_this_host_keeps_its_word() -> None:
    here = host_limits()
    assert here.effective <= here.bounding | set(CAPABILITIES)
    if "CAP_SYS_RESOURCE" not in here.effective:
        with open("/proc/self/oom_score_adj") as file:
            assert here.oom_score_adj == int(file.read())
        assert here.rlimits["RLIMIT_NOFILE"] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.path.ismount("/sys/fs/cgroup"):  # a build root has none
        assert here.unified == os.path.exists("/sys/fs/cgroup/cgroup.procs")
