"""config.json: the names are the specification's."""

from __future__ import annotations

import json

import pytest

from trilby.oci.errors import MalformedDocument
from trilby.oci.runtime import (
    SPEC_VERSION,
    BlockIo,
    Capabilities,
    Cpu,
    Device,
    DeviceRule,
    Hook,
    Hooks,
    HugepageLimit,
    IdMapping,
    IoPriority,
    Linux,
    LinuxResources,
    Memory,
    Mount,
    Namespace,
    Network,
    Pids,
    Process,
    Rlimit,
    Root,
    Seccomp,
    SeccompArg,
    SeccompSyscall,
    Spec,
    ThrottleDevice,
    User,
    encode_process,
    encode_spec,
    parse_spec,
    parse_state,
)

MAPPING = IdMapping(container_id=0, host_id=1000, size=10)
FULL = Spec(
    oci_version=SPEC_VERSION,
    process=Process(
        user=User(uid=0, gid=0, additional_gids=(5,)),
        args=("sh",),
        cwd="/",
        capabilities=Capabilities(bounding=("CAP_KILL",)),
        rlimits=(Rlimit("RLIMIT_NOFILE", hard=2, soft=1),),
        no_new_privileges=True,
        oom_score_adj=0,
        selinux_label="l",
        apparmor_profile="p",
        io_priority=IoPriority("IOPRIO_CLASS_BE", 4),
    ),
    root=Root("rootfs", readonly=True),
    mounts=(Mount("/m", "bind", "/s", ("rbind",), (MAPPING,), (MAPPING,)),),
    hooks=Hooks(create_runtime=(Hook("/h", timeout=1),)),
    annotations={"a": ""},
    linux=Linux(
        resources=LinuxResources(
            devices=(DeviceRule(allow=False, access="rwm"),),
            memory=Memory(limit=1, disable_oom_killer=False, kernel_tcp=1),
            cpu=Cpu(shares=2, cpus="0"),
            pids=Pids(limit=3),
            block_io=BlockIo(throttle_read_iops_device=(ThrottleDevice(8, 0, 9),)),
            hugepage_limits=(HugepageLimit("2MB", 4),),
            network=Network(class_id=1),
            unified={"memory.high": "1"},
        ),
        cgroups_path="/x/y",
        namespaces=(Namespace("pid"), Namespace("network", "/n")),
        devices=(Device("/dev/d", "c", 1, 3, file_mode=0o666, uid=0, gid=0),),
        seccomp=Seccomp(
            default_action="SCMP_ACT_ERRNO",
            default_errno_ret=38,
            syscalls=(
                SeccompSyscall(
                    ("clone",),
                    "SCMP_ACT_ALLOW",
                    args=(SeccompArg(0, 2**63 + 1, "SCMP_CMP_MASKED_EQ", 7),),
                ),
            ),
        ),
        uid_mappings=(MAPPING,),
        masked_paths=("/proc/kcore",),
        rootfs_propagation="rslave",
    ),
)


def names(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(names(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(names(item) for item in value)) if value else set()
    return set()


def test_names() -> None:
    document = json.loads(encode_spec(FULL))
    wanted = """ociVersion additionalGids noNewPrivileges oomScoreAdj selinuxLabel apparmorProfile
        ioPriority class uidMappings gidMappings containerID hostID createRuntime blockIO
        throttleReadIOPSDevice hugepageLimits pageSize classID disableOOMKiller kernelTCP
        cgroupsPath fileMode defaultAction defaultErrnoRet valueTwo maskedPaths
        rootfsPropagation unified rlimits"""
    assert set(wanted.split()) <= names(document)
    assert document["process"]["oomScoreAdj"] == 0
    assert document["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert document["linux"]["seccomp"]["syscalls"][0]["args"][0]["value"] == 2**63 + 1


def test_round_trip() -> None:
    assert parse_spec(encode_spec(FULL)) == FULL


def test_defaults_are_not_written() -> None:
    process = Process(user=User(0, 0), args=("sh",), cwd="/")
    assert json.loads(encode_process(process)) == {
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "cwd": "/",
    }


def test_state() -> None:
    state = parse_state(
        b'{"ociVersion":"1.0.2","id":"c","pid":7,"status":"running","bundle":"/b","rootfs":"/r",'
        b'"created":"2020-01-01T00:00:00Z","owner":"","annotations":null}'
    )
    assert (state.id, state.pid, state.status, state.annotations) == ("c", 7, "running", {})
    with pytest.raises(MalformedDocument):
        parse_state(b"container does not exist")
