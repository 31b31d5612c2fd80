"""Resources, limits, namespaces, devices, labels, files: the smaller parts of a spec."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.oci.runtime import LinuxResources, Pids, Rlimit
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import (
    HugepageLimit,
    IdMapping,
    NamespaceMode,
    NamespaceOptions,
    ProfileType,
    Resources,
    SecurityProfile,
    SELinuxOptions,
    UserNamespace,
)
from trilby.pods.model_container import Device
from trilby.pods.model_sandbox import DNSConfig
from trilby.pods.spec import files, masks
from trilby.pods.spec.devices import build_devices, parse_device, read_devices
from trilby.pods.spec.limits import build_oom_score, build_rlimits, parse_ulimit
from trilby.pods.spec.namespaces import build_namespaces, build_sysctls, user_mappings
from trilby.pods.spec.resources import build_resources
from trilby.pods.spec.security import (
    Contexts,
    Labels,
    build_apparmor,
    build_labels,
    parse_assignments,
    parse_contexts,
    pod_level,
)
from trilby.system.limits import CAPABILITIES, UNLIMITED, HostLimits

FULL = HostLimits(
    bounding=frozenset(CAPABILITIES),
    effective=frozenset(CAPABILITIES),
    oom_score_adj=-1000,
    rlimits={},
    hugepage_sizes=frozenset(("2MB",)),
    swap_limits=True,
    unified=True,
    controllers=frozenset(("cpu", "cpuset", "memory", "pids", "hugetlb")),
)
SMALL = HostLimits(
    bounding=frozenset(),
    effective=frozenset(),
    oom_score_adj=100,
    rlimits={"RLIMIT_NOFILE": 4096},
    hugepage_sizes=frozenset(),
    swap_limits=False,
    unified=False,
    controllers=frozenset(),
)
MUCH = Resources(
    cpu_shares=10,
    cpuset_cpus="0",
    memory_limit=1 << 30,
    memory_swap_limit=2 << 30,
    hugepage_limits=(HugepageLimit(page_size="2MB", limit=1 << 21),),
    unified={"memory.high": "1"},
)


def test_all_resources() -> None:
    resources, warnings = build_resources(MUCH, FULL, pids_limit=5)
    assert not warnings and resources.pids and resources.pids.limit == 5
    assert resources.memory and (resources.memory.limit, resources.memory.swap) == (
        1 << 30,
        2 << 30,
    )
    assert resources.cpu and resources.cpu.shares == 10 and resources.cpu.cpus == "0"
    assert resources.hugepage_limits and resources.unified == MUCH.unified


def test_nothing_is_given_and_everything_told() -> None:
    resources, warnings = build_resources(MUCH, SMALL, pids_limit=5)
    assert resources == build_resources(Resources(), SMALL)[0]
    assert len(warnings) == 6
    zero = Resources(hugepage_limits=(HugepageLimit(page_size="1GB", limit=0),))
    assert build_resources(zero, SMALL)[1] == ()


def test_systemd_is_told_that_there_is_no_limit_of_processes() -> None:
    assert build_resources(Resources(), FULL, scope=True)[0].pids == Pids(-1)
    assert build_resources(Resources(), FULL, scope=True, pids_limit=5)[0].pids == Pids(5)
    assert build_resources(Resources(), FULL)[0].pids is None
    assert build_resources(Resources(), SMALL, scope=True) == (LinuxResources(), ())


def test_no_swap_unless_asked_for() -> None:
    resources, _ = build_resources(Resources(memory_limit=1 << 20), FULL)
    assert resources.memory and resources.memory.swap == 1 << 20
    unlimited = Resources(memory_limit=1 << 20, memory_swap_limit=-1)
    resources, _ = build_resources(unlimited, FULL)
    assert resources.memory and resources.memory.swap == -1


@pytest.mark.parametrize(
    "wanted", [Resources(memory_limit=5), Resources(memory_limit=1 << 30, memory_swap_limit=5)]
)
def test_limits_that_cannot_be(wanted: Resources) -> None:
    with pytest.raises(InvalidPodConfig):
        build_resources(wanted, FULL, min_memory=1000)


def test_ulimits() -> None:
    assert parse_ulimit("nofile=1024:2048") == Rlimit("RLIMIT_NOFILE", hard=2048, soft=1024)
    assert parse_ulimit("RLIMIT_CORE=-1") == Rlimit("RLIMIT_CORE", hard=UNLIMITED, soft=UNLIMITED)
    for wrong in ("nofile", "x=1", "nofile=2:1", "nofile=a", "nofile=-2"):
        with pytest.raises(InvalidPodConfig):
            parse_ulimit(wrong)
    given_limits, warnings = build_rlimits([parse_ulimit("nofile=9999:unlimited")], SMALL)
    assert given_limits == (Rlimit("RLIMIT_NOFILE", hard=4096, soft=4096),) and len(warnings) == 1
    assert build_rlimits([parse_ulimit("nofile=1:2")], FULL)[1] == ()


@given(st.text())
def test_any_text_is_a_ulimit_or_refused(text: str) -> None:
    try:
        assert parse_ulimit(text).soft <= parse_ulimit(text).hard
    except InvalidPodConfig:
        pass


def test_oom_scores() -> None:
    assert build_oom_score(None, SMALL) == (None, ())
    assert build_oom_score(500, SMALL) == (500, ())
    score, warnings = build_oom_score(-998, SMALL)
    assert score == 100 and warnings
    with pytest.raises(InvalidPodConfig):
        build_oom_score(2000, FULL)


def test_namespaces() -> None:
    def kinds(options: NamespaceOptions, paths: dict[str, str], **more: bool) -> dict[str, str]:
        given = {"cgroup_v2": True, "privileged": False, **more}
        return {n.type: n.path for n in build_namespaces(options, paths, **given)}

    pins = {"network": "/n", "ipc": "/i", "uts": "/u", "user": "", "pid": "/p"}
    assert kinds(NamespaceOptions(), pins) == {
        "mount": "", "network": "/n", "ipc": "/i", "uts": "/u", "pid": "", "cgroup": ""
    }  # fmt: skip
    assert kinds(NamespaceOptions(pid=NamespaceMode.NODE), {}, cgroup_v2=False) == {"mount": ""}
    assert kinds(NamespaceOptions(pid=NamespaceMode.POD), pins)["pid"] == "/p"
    with pytest.raises(InvalidPodConfig):
        kinds(NamespaceOptions(pid=NamespaceMode.TARGET), {})


def mapping(length: int = 65536, inside: int = 0) -> tuple[IdMapping, ...]:
    return (IdMapping(container_id=inside, host_id=100000, length=length),)


@pytest.mark.parametrize(
    "userns",
    [
        UserNamespace(mode=NamespaceMode.POD),
        UserNamespace(mode=NamespaceMode.POD, uids=mapping(), gids=mapping() * 2),
        UserNamespace(mode=NamespaceMode.POD, uids=mapping(inside=1), gids=mapping()),
        UserNamespace(mode=NamespaceMode.CONTAINER, uids=mapping(), gids=mapping()),
        UserNamespace(mode=NamespaceMode.NODE, uids=mapping()),
    ],
)
def test_user_namespaces_that_the_cri_forbids(userns: UserNamespace) -> None:
    with pytest.raises(InvalidPodConfig):
        user_mappings(userns)


def test_sysctls_belong_to_namespaces() -> None:
    userns = UserNamespace(mode=NamespaceMode.POD, uids=mapping(), gids=mapping())
    wanted = {"net/ipv4/ip_forward": "1", "kernel.shm_rmid_forced": "0"}
    ping = {"net.ipv4.ping_group_range": "0 2147483647"}
    chosen, warnings = build_sysctls(ping, wanted, NamespaceOptions(userns=userns))
    assert chosen == {
        "net.ipv4.ping_group_range": "0 65535",
        "net.ipv4.ip_forward": "1",
        "kernel.shm_rmid_forced": "0",
    }
    assert not warnings
    host = NamespaceOptions(network=NamespaceMode.NODE)
    chosen, warnings = build_sysctls(ping, wanted, host)
    assert chosen == {"kernel.shm_rmid_forced": "0"} and len(warnings) == 1
    with pytest.raises(InvalidPodConfig):
        build_sysctls({}, {"vm.swappiness": "1"}, NamespaceOptions())


def test_devices() -> None:
    assert parse_device("/dev/fuse") == Device(host_path="/dev/fuse", container_path="/dev/fuse")
    assert parse_device("/dev/a:/dev/b:r").permissions == "r"
    assert parse_device("/dev/a:rw") == Device(
        host_path="/dev/a", container_path="/dev/a", permissions="rw"
    )
    (null,) = read_devices([Device(host_path="/dev/null", container_path="/dev/x")])
    nodes, rules = build_devices([null], privileged=False, owner=(5, 6))
    assert (nodes[0].path, nodes[0].major, nodes[0].uid, nodes[0].gid) == ("/dev/x", 1, 5, 6)
    assert not rules[0].allow and rules[1].allow and rules[1].minor == 3
    assert [rule.allow for rule in build_devices([null], privileged=True)[1]] == [True]
    for wrong in (Device(host_path="/etc/passwd"), Device(host_path="/dev/null", permissions="x")):
        with pytest.raises(InvalidPodConfig):
            read_devices([wrong])


def test_masks() -> None:
    assert masks.masked_paths(None, privileged=False) == masks.MASKED_PATHS
    assert masks.masked_paths((), privileged=False) == ()
    assert masks.masked_paths(None, privileged=True) == ()
    assert "/proc/interrupts" in masks.masked_paths(("/proc/keys",), privileged=False)
    assert masks.readonly_paths(("/x",), privileged=False) == ("/x",)


def test_labels() -> None:
    level = pod_level("a" * 64)
    assert level == pod_level("a" * 64) != pod_level("b" * 64)
    text = 'process = "system_u:system_r:container_t:s0"\n# x\nfile="a:b:c"\n'
    contexts = parse_contexts(parse_assignments(text))
    assert contexts == Contexts("system_u:system_r:container_t", "a:b:c")
    labels = build_labels(SELinuxOptions(type="spc_t"), level, contexts, shares_host=False)
    assert labels.process == f"system_u:system_r:spc_t:{level}" and labels.mount == f"a:b:c:{level}"
    assert build_labels(None, level, contexts, shares_host=True) == Labels()
    privileged = build_labels(None, level, contexts, unconfined=True)
    assert privileged == Labels("", f"a:b:c:{level}"), "its files are the pod's all the same"


def test_apparmor() -> None:
    def profile(
        asked: SecurityProfile | None, loaded: tuple[str, ...] = (), enabled: bool = True
    ) -> str:
        return build_apparmor(asked, "d", enabled=enabled, privileged=False, loaded=loaded)

    local = SecurityProfile(type=ProfileType.LOCALHOST, localhost_ref="mine")
    assert profile(local, loaded=("mine",)) == "mine"
    assert profile(None) == "d"
    assert profile(SecurityProfile(type=ProfileType.UNCONFINED)) == ""
    assert profile(None, enabled=False) == ""
    for enabled in (True, False):
        with pytest.raises(InvalidPodConfig):
            profile(local, enabled=enabled)


def test_texts_of_files() -> None:
    dns = DNSConfig(servers=("1.1.1.1", "::1"), searches=("a", "b"), options=("ndots:5",))
    assert files.resolv_conf(dns, "host") == (
        "search a b\nnameserver 1.1.1.1\nnameserver ::1\noptions ndots:5\n"
    )
    assert files.resolv_conf(None, "host") == files.resolv_conf(DNSConfig(), "host") == "host"
    with pytest.raises(InvalidPodConfig):
        files.resolv_conf(DNSConfig(servers=("1.1.1.1\nevil",)), "")
    assert "10.0.0.5\tpod\n" in files.hosts("pod", ["10.0.0.5"], [("1.2.3.4", "x y")])
