"""Adjustments of plugins in an OCI config: what changes, what conflicts, what the host cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trilby.cri.nri.adjust import Adjuster
from trilby.cri.nri.errors import AdjustmentConflict, InvalidAdjustment
from trilby.cri.nri.owners import Field, Owners
from trilby.cri.nri.proto import adjustment_pb2 as pb
from trilby.cri.nri.proto import pod_pb2
from trilby.oci.runtime import (
    Cpu,
    Device,
    DeviceRule,
    Hook,
    Hooks,
    IntelRdt,
    Linux,
    LinuxResources,
    Memory,
    MemoryPolicy,
    Mount,
    Namespace,
    NetDevice,
    Pids,
    Process,
    Rlimit,
    Scheduler,
    Seccomp,
    SeccompArg,
    SeccompSyscall,
    Spec,
    User,
    encode_spec,
    parse_spec,
)
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.spec.host import HostFacts
from trilby.system.limits import CAPABILITIES, HostLimits

HOST = HostFacts(
    limits=HostLimits(
        bounding=frozenset(CAPABILITIES),
        effective=frozenset(CAPABILITIES),
        oom_score_adj=-1000,
        rlimits={},
        hugepage_sizes=frozenset({"2MB"}),
        swap_limits=True,
        unified=True,
        controllers=frozenset(("cpu", "cpuset", "memory", "pids")),
    )
)
SPEC = Spec(
    oci_version="1.0.2",
    process=Process(
        user=User(0, 0),
        args=("sleep", "1"),
        cwd="/",
        env=("PATH=/bin", "A=1", "B=2"),
        rlimits=(Rlimit("RLIMIT_NOFILE", hard=10, soft=5),),
    ),
    mounts=(Mount("/proc", "proc"), Mount("/dev", "tmpfs"), Mount("/dev/shm", "tmpfs")),
    annotations={"kept": "1", "old": "2"},
    linux=Linux(
        resources=LinuxResources(
            memory=Memory(limit=100 << 20), cpu=Cpu(shares=100), devices=(DeviceRule(False),)
        ),
        namespaces=(Namespace("pid"), Namespace("network", "/ns/net")),
        cgroups_path="/pod/c",
    ),
)


def adjusted(
    *wanted: pb.ContainerAdjustment, spec: Spec = SPEC, host: HostFacts = HOST
) -> Adjuster:
    """After plugins 00-p, 01-p... have each had their wish; the result is a config that is read."""
    adjuster = Adjuster("c" * 64, spec, Owners(), host=host, min_memory=12 << 20)
    for index, one in enumerate(wanted):
        adjuster.apply(one, f"{index:02}-p")
    assert parse_spec(encode_spec(adjuster.spec)) == adjuster.spec
    return adjuster


def linux(**fields: object) -> pb.ContainerAdjustment:
    return pb.ContainerAdjustment(linux=pb.LinuxContainerAdjustment(**fields))  # type: ignore[arg-type]


def process_of(adjuster: Adjuster) -> Process:
    assert adjuster.spec.process is not None
    return adjuster.spec.process


def linux_of(adjuster: Adjuster) -> Linux:
    assert adjuster.spec.linux is not None
    return adjuster.spec.linux


def test_nothing_changes_nothing() -> None:
    adjuster = adjusted(pb.ContainerAdjustment(), linux())
    assert adjuster.spec == SPEC and not adjuster.warnings


def test_annotations_and_variables() -> None:
    wanted = pb.ContainerAdjustment(
        annotations={"new": "3", "-old": "", "-missing": "", "kept": "4"},
        env=[
            pb.KeyValue(key="A", value="x=y"),
            pb.KeyValue(key="-B"),
            pb.KeyValue(key="C", value=""),
        ],
    )
    adjuster = adjusted(wanted)
    assert adjuster.spec.annotations == {"kept": "4", "new": "3"}
    assert process_of(adjuster).env == ("PATH=/bin", "A=x=y", "C=")


def test_arguments_and_who_may_change_them_again() -> None:
    first = pb.ContainerAdjustment(args=["echo", "a"])
    assert process_of(adjusted(first)).args == ("echo", "a")
    with pytest.raises(AdjustmentConflict, match="00-p and 01-p both change args"):
        adjusted(first, pb.ContainerAdjustment(args=["echo", "b"]))
    replaced = pb.ContainerAdjustment(args=["", "echo", "b"])
    assert process_of(adjusted(first, replaced)).args == ("echo", "b")


def test_mounts_are_replaced_removed_and_in_order() -> None:
    wanted = pb.ContainerAdjustment(
        mounts=[
            pod_pb2.Mount(destination="/dev/shm", type="bind", source="/s", options=["rbind"]),
            pod_pb2.Mount(destination="-/proc"),
            pod_pb2.Mount(destination="/a/b/c", type="bind", source="/h", options=["rslave"]),
            pod_pb2.Mount(destination="/a", type="tmpfs"),
        ]
    )
    adjuster = adjusted(wanted)
    assert [mount.destination for mount in adjuster.spec.mounts] == [
        "/dev", "/a", "/dev/shm", "/a/b/c",
    ]  # fmt: skip
    assert adjuster.spec.mounts[2] == Mount("/dev/shm", "bind", "/s", ("rbind",))
    assert linux_of(adjuster).rootfs_propagation == "rslave"
    with pytest.raises(InvalidAdjustment, match="'a'"):
        adjusted(pb.ContainerAdjustment(mounts=[pod_pb2.Mount(destination="a")]))


def test_limits_of_processes() -> None:
    wanted = linux(oom_score_adj=pod_pb2.OptionalInt(value=-5))
    wanted.rlimits.add(type="RLIMIT_NOFILE", hard=20, soft=20)
    wanted.rlimits.add(type="RLIMIT_CORE", hard=0, soft=0)
    setattr(wanted.linux.io_priority, "class", pod_pb2.IOPRIO_CLASS_BE)
    wanted.linux.io_priority.priority = 3
    wanted.linux.scheduler.policy = pod_pb2.SCHED_BATCH
    wanted.linux.scheduler.flags.append(pod_pb2.SCHED_FLAG_RECLAIM)
    process = process_of(adjusted(wanted))
    assert process.rlimits == (
        Rlimit("RLIMIT_NOFILE", hard=20, soft=20),
        Rlimit("RLIMIT_CORE", hard=0, soft=0),
    )
    assert process.oom_score_adj == -5
    assert process.io_priority is not None and process.io_priority.class_ == "IOPRIO_CLASS_BE"
    assert process.scheduler == Scheduler("SCHED_BATCH", flags=("SCHED_FLAG_RECLAIM",))


def test_hooks_of_all_plugins_are_joined() -> None:
    spec = replace(SPEC, hooks=Hooks(prestart=(Hook("/first"),)))
    one, two = pb.ContainerAdjustment(), pb.ContainerAdjustment()
    one.hooks.prestart.add(path="/one", args=["one", "x"], timeout=pod_pb2.OptionalInt(value=5))
    two.hooks.prestart.add(path="/two", env=["A=1"])
    two.hooks.poststop.add(path="/end")
    assert adjusted(one, two, spec=spec).spec.hooks == Hooks(
        prestart=(Hook("/first"), Hook("/one", ("one", "x"), (), 5), Hook("/two", (), ("A=1",))),
        poststop=(Hook("/end"),),
    )


def test_devices_come_with_the_right_to_use_them() -> None:
    node = pod_pb2.LinuxDevice(
        path="/dev/d", type="c", major=1, minor=3, file_mode=pod_pb2.OptionalFileMode(value=0o644)
    )
    adjuster = adjusted(linux(devices=[node]))
    assert linux_of(adjuster).devices == (Device("/dev/d", "c", 1, 3, 0o644),)
    resources = linux_of(adjuster).resources
    assert resources is not None
    assert resources.devices == (DeviceRule(False), DeviceRule(True, "c", 1, 3, "rwm"))
    adjuster.apply(linux(devices=[pod_pb2.LinuxDevice(path="-/dev/d")]), "09-p")
    assert linux_of(adjuster).devices == ()
    with pytest.raises(InvalidAdjustment):
        adjusted(linux(devices=[pod_pb2.LinuxDevice(path="/dev/x", type="z")]))


def test_cgroup_limits() -> None:
    wanted = pod_pb2.LinuxResources(
        memory=pod_pb2.LinuxMemory(
            limit=pod_pb2.OptionalInt64(value=200 << 20),
            reservation=pod_pb2.OptionalInt64(value=0),
        ),
        cpu=pod_pb2.LinuxCPU(cpus="0", quota=pod_pb2.OptionalInt64(value=-1)),
        hugepage_limits=[
            pod_pb2.HugepageLimit(page_size="2MB", limit=0),
            pod_pb2.HugepageLimit(page_size="1GB", limit=1),
        ],
        unified={"memory.high": "1000"},
        pids=pod_pb2.LinuxPids(limit=9),
    )
    adjuster = adjusted(linux(resources=wanted, cgroups_path="/elsewhere/c"))
    resources = linux_of(adjuster).resources
    assert resources is not None
    assert resources.memory == Memory(limit=200 << 20, swap=200 << 20, reservation=0)
    assert resources.cpu == Cpu(shares=100, quota=-1, cpus="0")
    assert [item.page_size for item in resources.hugepage_limits] == ["2MB"]
    assert resources.unified == {"memory.high": "1000"} and resources.pids == Pids(9)
    assert linux_of(adjuster).cgroups_path == "/elsewhere/c"
    assert adjuster.warnings == ("huge pages of 1GB cannot be limited here",)


def test_limits_that_the_host_or_a_program_cannot_have() -> None:
    limits = replace(
        HOST.limits, unified=False, swap_limits=False, rlimits={"RLIMIT_CORE": 1}, oom_score_adj=0
    )
    wanted = linux(
        resources=pod_pb2.LinuxResources(
            memory=pod_pb2.LinuxMemory(
                limit=pod_pb2.OptionalInt64(value=20 << 20),
                swap=pod_pb2.OptionalInt64(value=30 << 20),
            ),
            unified={"memory.high": "1"},
            blockio_class=pod_pb2.OptionalString(value="fast"),
        ),
        oom_score_adj=pod_pb2.OptionalInt(value=-1),
    )
    wanted.rlimits.add(type="RLIMIT_CORE", hard=2, soft=2)
    adjuster = adjusted(wanted, host=replace(HOST, limits=limits))
    resources = linux_of(adjuster).resources
    assert resources is not None and resources.memory == Memory(limit=20 << 20)
    assert process_of(adjuster).oom_score_adj == 0
    assert len(adjuster.warnings) == 5
    small = pod_pb2.LinuxMemory(limit=pod_pb2.OptionalInt64(value=1 << 20))
    with pytest.raises(InvalidAdjustment, match="below the minimum"):
        adjusted(linux(resources=pod_pb2.LinuxResources(memory=small)))


def test_namespaces_sysctls_and_network_devices() -> None:
    adjuster = adjusted(
        linux(
            namespaces=[
                pod_pb2.LinuxNamespace(type="network", path="/other"),
                pod_pb2.LinuxNamespace(type="-pid"),
                pod_pb2.LinuxNamespace(type="cgroup"),
            ],
            sysctl={"net.a": "1", "-net.b": ""},
            net_devices={"eth1": pod_pb2.LinuxNetDevice(name="inside")},
        )
    )
    assert linux_of(adjuster).namespaces == (Namespace("network", "/other"), Namespace("cgroup"))
    assert linux_of(adjuster).sysctl == {"net.a": "1"}
    assert linux_of(adjuster).net_devices == {"eth1": NetDevice("inside")}


def test_seccomp_and_memory_policies() -> None:
    policy = pod_pb2.LinuxSeccomp(default_action="SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_X86"])
    syscall = policy.syscalls.add(names=["kill"], action="SCMP_ACT_ERRNO")
    syscall.errno_ret.value = 1
    syscall.args.add(index=0, value=2, op="SCMP_CMP_EQ")
    memory = pb.LinuxMemoryPolicy(mode=pb.MPOL_BIND, nodes="0", flags=[pb.MPOL_F_STATIC_NODES])
    adjuster = adjusted(linux(seccomp_policy=policy, memory_policy=memory))
    assert linux_of(adjuster).seccomp == Seccomp(
        "SCMP_ACT_ALLOW",
        architectures=("SCMP_ARCH_X86",),
        syscalls=(
            SeccompSyscall(("kill",), "SCMP_ACT_ERRNO", 1, (SeccompArg(0, 2, "SCMP_CMP_EQ"),)),
        ),
    )
    assert linux_of(adjuster).memory_policy == MemoryPolicy(
        "MPOL_BIND", "0", ("MPOL_F_STATIC_NODES",)
    )


@pytest.mark.parametrize("there", [True, False])
def test_classes_of_caches_need_a_host_that_has_them(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemata = tmp_path / "schemata"
    monkeypatch.setattr("trilby.cri.nri.adjust_linux.RESCTRL", str(schemata))
    if there:
        schemata.touch()
    adjuster = adjusted(
        linux(rdt=pod_pb2.LinuxRdt(clos_id=pod_pb2.OptionalString(value="gold"))),
        linux(rdt=pod_pb2.LinuxRdt(schemata=pod_pb2.OptionalRepeatedString(value=["L3:0=f"]))),
    )
    if there:
        assert linux_of(adjuster).intel_rdt == IntelRdt("gold", schemata=("L3:0=f",))
    else:
        assert linux_of(adjuster).intel_rdt is None and len(adjuster.warnings) == 2


def test_cdi_devices(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(
        '{"cdiVersion": "0.6.0", "kind": "v.com/d", "devices": [{"name": "0", "containerEdits":'
        ' {"env": ["D=0"], "deviceNodes": [{"path": "/dev/d0", "hostPath": "/dev/null"}]}}]}'
    )
    adjuster = Adjuster("c", SPEC, Owners(), host=HOST, cdi_dirs=[str(tmp_path)])
    adjuster.apply(
        pb.ContainerAdjustment(CDI_devices=[pod_pb2.CDIDevice(name="v.com/d=0")]), "00-p"
    )
    assert "D=0" in process_of(adjuster).env
    assert [(node.path, node.major) for node in linux_of(adjuster).devices] == [("/dev/d0", 1)]
    resources = linux_of(adjuster).resources
    assert resources is not None and resources.devices[0] == DeviceRule(False)
    assert resources.devices[1].allow and len(resources.devices) == 2
    with pytest.raises(InvalidPodConfig, match="no specification"):
        adjuster.apply(
            pb.ContainerAdjustment(CDI_devices=[pod_pb2.CDIDevice(name="v.com/d=1")]), "01-p"
        )


@pytest.mark.parametrize(
    "wanted",
    [
        pb.ContainerAdjustment(annotations={"a": "1"}),
        pb.ContainerAdjustment(env=[pb.KeyValue(key="A", value="1")]),
        pb.ContainerAdjustment(mounts=[pod_pb2.Mount(destination="/m", type="tmpfs")]),
        pb.ContainerAdjustment(rlimits=[pod_pb2.POSIXRlimit(type="RLIMIT_CORE")]),
        linux(oom_score_adj=pod_pb2.OptionalInt(value=0)),
        linux(cgroups_path="/x"),
        linux(sysctl={"a": "1"}),
        linux(namespaces=[pod_pb2.LinuxNamespace(type="ipc")]),
        linux(devices=[pod_pb2.LinuxDevice(path="/dev/x", type="c")]),
        linux(seccomp_policy=pod_pb2.LinuxSeccomp(default_action="SCMP_ACT_ALLOW")),
        linux(resources=pod_pb2.LinuxResources(cpu=pod_pb2.LinuxCPU(cpus="0"))),
        linux(resources=pod_pb2.LinuxResources(unified={"a": "b"})),
        linux(resources=pod_pb2.LinuxResources(pids=pod_pb2.LinuxPids(limit=0))),
    ],
)
def test_two_plugins_cannot_change_the_same(wanted: pb.ContainerAdjustment) -> None:
    before = adjusted(wanted)
    adjuster = Adjuster("c", SPEC, Owners(), host=HOST)
    adjuster.apply(wanted, "00-p")
    after = adjuster.spec
    assert after == before.spec
    with pytest.raises(AdjustmentConflict, match="00-p and 01-p both change"):
        adjuster.apply(wanted, "01-p")
    assert adjuster.spec == after


def test_what_was_removed_may_be_set_by_another() -> None:
    one = pb.ContainerAdjustment(annotations={"a": "1"}, env=[pb.KeyValue(key="N", value="1")])
    two = pb.ContainerAdjustment(
        annotations={"-a": "", "a": "2"},
        env=[pb.KeyValue(key="-N"), pb.KeyValue(key="N", value="2")],
    )
    adjuster = adjusted(one, two)
    assert adjuster.spec.annotations["a"] == "2" and "N=2" in process_of(adjuster).env


def test_owners_are_told_to_plugins_that_validate() -> None:
    owners = Owners()
    adjuster = Adjuster("c", SPEC, owners, host=HOST)
    wanted = linux(cgroups_path="/x")
    wanted.annotations["a"] = "1"
    wanted.hooks.prestart.add(path="/h")
    adjuster.apply(wanted, "00-p")
    wanted = pb.ContainerAdjustment()
    wanted.hooks.prestart.add(path="/h")
    adjuster.apply(wanted, "01-p")
    told = owners.message().owners["c"]
    assert told.simple[Field.CGROUPS_PATH] == "00-p"
    assert told.simple[Field.OCI_HOOKS] == "00-p,01-p"
    assert told.compound[Field.ANNOTATIONS].owners["a"] == "00-p"


@pytest.mark.parametrize("key", ["", "A=B", "A\0"])
def test_variables_that_cannot_be(key: str) -> None:
    with pytest.raises(InvalidAdjustment):
        adjusted(pb.ContainerAdjustment(env=[pb.KeyValue(key=key, value="1")]))


def test_numbers_without_a_name() -> None:
    wanted = linux()
    wanted.linux.scheduler.policy = 77  # type: ignore[assignment]
    with pytest.raises(InvalidAdjustment):
        adjusted(wanted)


@given(st.binary(max_size=200))
def test_any_message_is_applied_or_refused(raw: bytes) -> None:
    from google.protobuf.message import DecodeError

    wanted = pb.ContainerAdjustment()
    try:
        wanted.ParseFromString(raw)
        adjusted(wanted)
    except (DecodeError, InvalidAdjustment, InvalidPodConfig):
        pass
