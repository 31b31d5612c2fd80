"""What runc makes of our configs: effects are read from inside a real container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.oci_runtime import BUSYBOX, RUNC, BusyboxRuntime, config

from trilby.oci.image import ContainerDefaults, ImageConfig
from trilby.oci.runtime import Rlimit
from trilby.pods.model_common import (
    HugepageLimit,
    NamespaceMode,
    NamespaceOptions,
    ProfileType,
    Resources,
    SecurityProfile,
    SupplementalGroupsPolicy,
)
from trilby.pods.model_container import Capabilities, Device, Mount
from trilby.pods.spec.host import detect_host
from trilby.pods.spec.inputs import SandboxPaths, SpecDefaults
from trilby.system.limits import CAPABILITIES, UNLIMITED

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not BUSYBOX or not RUNC, reason="needs root, runc and a static busybox"
)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[BusyboxRuntime]:
    runtime = BusyboxRuntime(tmp_path)
    yield runtime
    runtime.remove_cgroups()


def status_of(printed: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in printed.splitlines() if ":" in line)


def mask(names: tuple[str, ...]) -> int:
    return sum(1 << CAPABILITIES.index(name) for name in names)


def test_a_plain_container(sandbox: BusyboxRuntime) -> None:
    printed, built = sandbox.run("cat /proc/self/status; id; env; pwd", config())
    assert not built.warnings
    status = status_of(printed)
    process = built.spec.process
    assert process and process.capabilities
    for field, names in (
        ("CapEff", process.capabilities.effective),
        ("CapBnd", process.capabilities.bounding),
        ("CapInh", ()),
        ("CapAmb", ()),
    ):
        assert int(status[field], 16) == mask(names), field
    assert status["Seccomp"].strip() == "0"
    assert status["NoNewPrivs"].strip() == "0"
    assert "uid=0(root) gid=0(root)" in printed
    assert "HOSTNAME=trilby-test" in printed and "FROM_IMAGE=yes" in printed


def test_runtime_default_seccomp_and_no_new_privileges(sandbox: BusyboxRuntime) -> None:
    asked = config(seccomp=SecurityProfile(), no_new_privs=True)
    printed, built = sandbox.run(
        "cat /proc/self/status; mount -t tmpfs none /tmp 2>&1 || true", asked
    )
    status = status_of(printed)
    assert status["Seccomp"].strip() == "2"
    assert status["NoNewPrivs"].strip() == "1"
    assert built.spec.linux and built.spec.linux.seccomp
    assert built.spec.linux.seccomp.default_errno_ret == 38


def test_a_localhost_profile_denies_a_call(sandbox: BusyboxRuntime, tmp_path: Path) -> None:
    profile = tmp_path / "no-mkdir.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"],'
        ' "action": "SCMP_ACT_ERRNO", "errno": "EDOM"}]}'
    )
    asked = config(seccomp=SecurityProfile(type=ProfileType.LOCALHOST, localhost_ref=str(profile)))
    printed, _ = sandbox.run("mkdir /tmp/x 2>&1 || true", asked)
    assert "out of domain" in printed or "argument out of" in printed


def test_users_and_groups(sandbox: BusyboxRuntime) -> None:
    by_name = config(run_as_username="web", supplemental_groups=(5000,))
    printed, _ = sandbox.run("id -u; id -g; id -G; grep Cap /proc/self/status", by_name)
    uid, gid, groups, *caps = printed.splitlines()
    assert (uid, gid) == ("1500", "1600")
    assert set(groups.split()) == {"1600", "1700", "5000"}
    assert int(status_of("\n".join(caps))["CapEff"], 16) == 0
    strict = config(
        run_as_user=1500,
        run_as_group=42,
        supplemental_groups=(7,),
        supplemental_groups_policy=SupplementalGroupsPolicy.STRICT,
    )
    printed, _ = sandbox.run("id -g; id -G", strict)
    assert printed.splitlines()[0] == "42"
    assert set(printed.splitlines()[1].split()) == {"42", "7"}


def test_ambient_capabilities_reach_other_users(sandbox: BusyboxRuntime) -> None:
    asked = config(
        run_as_user=1500,
        capabilities=Capabilities(drop=("ALL",), add_ambient=("net_bind_service",)),
    )
    printed, _ = sandbox.run("grep Cap /proc/self/status", asked)
    status = status_of(printed)
    only = mask(("CAP_NET_BIND_SERVICE",))
    assert {name: int(value, 16) for name, value in status.items()} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), only
    )


def test_privileged_sees_devices_and_writes_sys(sandbox: BusyboxRuntime) -> None:
    printed, built = sandbox.run(
        "grep CapEff /proc/self/status; ls /dev; mount", config(privileged=True)
    )
    assert int(status_of(printed)["CapEff"], 16) == mask(tuple(detect_host().limits.bounding))
    if os.path.exists("/dev/fuse"):
        assert "fuse" in printed.split()
    sys_line = next(line for line in printed.splitlines() if " /sys " in line)
    assert "(rw," in sys_line
    if "CAP_SYS_RESOURCE" not in detect_host().limits.bounding:
        assert any("CAP_SYS_RESOURCE" in warning for warning in built.warnings)


def test_masked_and_readonly_paths_and_mounts(sandbox: BusyboxRuntime, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("hello")
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    asked = replace(
        config(readonly_rootfs=True),
        mounts=(
            Mount(container_path="/data", host_path=str(tmp_path / "link"), readonly=True),
            Mount(
                container_path="/rro",
                host_path=str(tmp_path / "data"),
                readonly=True,
                recursive_read_only=True,
            ),
            Mount(container_path="/made", host_path=str(tmp_path / "missing/deep")),
        ),
    )
    (sandbox.rootfs / "data").mkdir()
    (sandbox.rootfs / "rro").mkdir()
    (sandbox.rootfs / "made").mkdir()
    (sandbox.rootfs / "etc/resolv.conf").touch()
    script = (
        "cat /data/file; cat /etc/resolv.conf; touch /data/x /rro/x /x 2>&1; touch /made/y;"
        " cat /proc/kcore | grep -c . ; ls /proc/acpi /sys/firmware;"
        " echo 1 2>&1 >/proc/sys/kernel/printk; mount; true"
    )
    printed, _ = sandbox.run(
        script, asked, paths=SandboxPaths(id="s", resolv_conf=str(tmp_path / "resolv.conf"))
    )
    assert printed.startswith("hello")
    assert "nameserver 192.0.2.53" in printed
    assert printed.count("Read-only file system") >= 3
    assert (tmp_path / "missing/deep/y").exists()
    assert not (tmp_path / "data/x").exists()


def test_limits_are_clamped_and_told(sandbox: BusyboxRuntime) -> None:
    host = detect_host().limits
    asked = replace(
        config(),
        resources=Resources(
            cpu_quota=50000,
            cpu_period=100000,
            cpu_shares=512,
            memory_limit=64 << 20,
            oom_score_adj=-998,
            hugepage_limits=(HugepageLimit(page_size="2MB", limit=2 << 20),),
            unified={"memory.high": "1000000000"},
        ),
    )
    defaults = SpecDefaults(
        rlimits=(
            Rlimit("RLIMIT_NOFILE", hard=UNLIMITED - 1, soft=1024),
            Rlimit("RLIMIT_CORE", hard=0, soft=0),
        ),
        pids_limit=50,
    )
    script = "cat /proc/self/oom_score_adj; cat /proc/self/limits; cat /proc/self/cgroup"
    if not host.rlimits:
        pytest.skip("this host clamps nothing")
    printed, built = sandbox.run(
        f"{script}; cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
        " /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        asked,
        defaults=defaults,
    )
    lines = printed.splitlines()
    assert lines[0] == str(max(-998, host.oom_score_adj))
    nofile = next(line for line in lines if line.startswith("Max open files"))
    assert nofile.split()[3:5] == ["1024", str(host.rlimits["RLIMIT_NOFILE"])]
    assert lines[-3:] == [str(64 << 20), "50", "50000"]
    said = "\n".join(built.warnings)
    assert "RLIMIT_NOFILE" in said and "oom_score_adj" in said
    if not host.unified:
        assert "unified" in said


def test_a_device_and_nothing_else(sandbox: BusyboxRuntime) -> None:
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    asked = replace(config(), devices=(Device(host_path="/dev/fuse", permissions="r"),))
    printed, _ = sandbox.run("stat -c %t:%T /dev/fuse; cat </dev/fuse 2>&1 | grep -c perm", asked)
    status = os.stat("/dev/fuse")
    assert printed.splitlines()[0] == f"{os.major(status.st_rdev):x}:{os.minor(status.st_rdev):x}"


def test_host_namespaces(sandbox: BusyboxRuntime) -> None:
    node = NamespaceOptions(
        network=NamespaceMode.NODE, pid=NamespaceMode.NODE, ipc=NamespaceMode.NODE
    )
    script = "for n in net pid ipc uts mnt; do readlink /proc/self/ns/$n; done"
    printed, _ = sandbox.run(script, config(namespaces=node))
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "pid", "ipc", "uts")]
    assert printed.splitlines()[:4] == ours
    assert printed.splitlines()[4] != os.readlink("/proc/self/ns/mnt")


def test_user_groups_of(sandbox: BusyboxRuntime) -> None:
    """The image's own user counts when the request says nothing."""
    image = ImageConfig(config=ContainerDefaults(user="web:extra"))
    printed, _ = sandbox.run("id -u; id -g", config(), image=image)
    assert printed.split() == ["1500", "1700"]
