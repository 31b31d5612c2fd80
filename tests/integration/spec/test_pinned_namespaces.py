"""Containers in pinned namespaces, with user namespaces, exec, update; runc and crun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from tests.support.oci_runtime import BUSYBOX, CRUN, RUNC, BusyboxRuntime, config

from trilby.oci.runtime import encode_process
from trilby.pods.model_common import (
    IdMapping,
    NamespaceMode,
    NamespaceOptions,
    Resources,
    SecurityProfile,
    UserNamespace,
)
from trilby.pods.model_container import Mount, Propagation
from trilby.pods.model_sandbox import SandboxConfig, SandboxSecurity
from trilby.pods.spec.exec import build_exec_process
from trilby.pods.spec.host import detect_host, parse_features
from trilby.pods.spec.inputs import SandboxPaths, SpecDefaults
from trilby.pods.spec.namespaces import build_sysctls
from trilby.pods.spec.resources import build_resources
from trilby.system.namespaces import create_pinned, unpin_all
from trilby.system.userns import IdRange, create_pinned_user

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not BUSYBOX or not RUNC, reason="needs root, runc and a static busybox"
)
SHOW = "for n in net ipc uts user pid; do readlink /proc/self/ns/$n; done"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[BusyboxRuntime]:
    runtime = BusyboxRuntime(tmp_path)
    yield runtime
    runtime.remove_cgroups()


def inode(pin: str) -> str:
    return f"[{os.stat(pin).st_ino}]"


def test_namespaces_of_the_pod(sandbox: BusyboxRuntime, tmp_path: Path) -> None:
    sysctls, _ = build_sysctls(
        {},
        {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.msgmax": "9000"},
        NamespaceOptions(),
    )
    pins = create_pinned({"net", "ipc", "uts"}, tmp_path / "ns", hostname="pod", sysctls=sysctls)
    try:
        paths = SandboxPaths(id="s", netns=pins["net"], ipcns=pins["ipc"], utsns=pins["uts"])
        script = (
            f"{SHOW}; cat /proc/sys/kernel/hostname /proc/sys/kernel/msgmax"
            " /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/net/dev"
        )
        printed, _ = sandbox.run(script, config(), paths=paths)
        for kind in ("net", "ipc", "uts"):
            assert inode(pins[kind]) in printed
        assert "pod\n9000\n0\n" in printed
    finally:
        unpin_all(tmp_path / "ns")


def test_a_user_namespace_of_the_pod(sandbox: BusyboxRuntime, tmp_path: Path) -> None:
    first = 1_000_000
    mapping = (IdMapping(container_id=0, host_id=first, length=65536),)
    ranges = [IdRange(0, first, 65536)]
    pins = create_pinned_user({"net", "ipc", "uts"}, tmp_path / "ns", ranges, ranges)
    for path in [sandbox.rootfs, *sandbox.rootfs.rglob("*")]:
        os.lchown(path, first, first)
    # The runtime works inside of the namespace: it has to get through to the root file system.
    for parent in [sandbox.rootfs, *sandbox.rootfs.parents]:
        if str(parent).startswith(str(tmp_path.parents[1])):
            parent.chmod(parent.stat().st_mode | 0o011)
    try:
        userns = UserNamespace(mode=NamespaceMode.POD, uids=mapping, gids=mapping)
        pod = SandboxConfig(
            name="p", uid="u", security=SandboxSecurity(namespaces=NamespaceOptions(userns=userns))
        )
        paths = SandboxPaths(
            id="s", netns=pins["net"], ipcns=pins["ipc"], utsns=pins["uts"], userns=pins["user"]
        )
        printed, built = sandbox.run(
            f"{SHOW}; id -u; cat /proc/self/uid_map; stat -c %u /bin/busybox; touch /tmp/mine",
            config(seccomp=SecurityProfile()),
            sandbox=pod,
            paths=paths,
        )
        assert inode(pins["user"]) in printed
        assert printed.splitlines()[5] == "0"
        assert printed.splitlines()[6].split() == ["0", str(first), "65536"]
        assert printed.splitlines()[7] == "0"
        assert (sandbox.rootfs / "tmp/mine").stat().st_uid == first
        assert not built.warnings
    finally:
        unpin_all(tmp_path / "ns")


def test_exec_and_update(sandbox: BusyboxRuntime, tmp_path: Path) -> None:
    name, built = sandbox.start(config(run_as_username="web"))
    try:
        assert built.spec.process
        process = build_exec_process(built.spec.process, ["sh", "-c", "id -u; echo $X; pwd"],
                                     env=[("X", "yes")], cwd="/tmp")  # fmt: skip
        (tmp_path / "exec.json").write_bytes(encode_process(process))
        printed = sandbox.call("exec", "--process", str(tmp_path / "exec.json"), name)
        assert printed.split() == ["1500", "yes", "/tmp"]
        wanted = Resources(memory_limit=32 << 20, cpu_shares=256, cpu_quota=20000, cpu_period=50000)
        resources, _ = build_resources(wanted, detect_host().limits)
        sandbox.call("update", "--resources", "-", name, stdin=msgspec.json.encode(resources))
        limit = Path(f"/sys/fs/cgroup/memory/{sandbox.cgroup}/{name}/memory.limit_in_bytes")
        if limit.exists():
            assert int(limit.read_text()) == 32 << 20
    finally:
        sandbox.call("delete", "--force", name)


def test_the_pid_namespace_of_another_container(sandbox: BusyboxRuntime) -> None:
    name, _ = sandbox.start(config())
    try:
        pid = msgspec.json.decode(sandbox.call("state", name).encode())["pid"]
        options = NamespaceOptions(pid=NamespaceMode.TARGET, target_id=name)
        paths = SandboxPaths(id="s", pidns=f"/proc/{pid}/ns/pid")
        printed, _ = sandbox.run("cat /proc/1/cmdline", config(namespaces=options), paths=paths)
        assert "sleep" in printed
    finally:
        sandbox.call("delete", "--force", name)


def test_crun_takes_the_same_config(tmp_path: Path) -> None:
    if not CRUN:
        pytest.skip("crun is not installed")
    # crun refuses hybrid cgroups: it gets a mount namespace without cgroup2.
    hide = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"'
    crun = BusyboxRuntime(tmp_path, "unshare", "-m", "sh", "-c", hide, CRUN)
    asked = config(seccomp=SecurityProfile(), run_as_user=1500, no_new_privs=True)
    asked = replace(asked, resources=Resources(oom_score_adj=-998, memory_limit=64 << 20))
    printed, _ = crun.run("id -u; id -G; cat /proc/self/status", asked)
    crun.remove_cgroups()
    assert printed.startswith("1500\n1600 1700\n")
    assert "Seccomp:\t2" in printed and "NoNewPrivs:\t1" in printed


def test_features_of_the_installed_runtime() -> None:
    done = subprocess.run([str(RUNC), "features"], capture_output=True)
    if done.returncode == 0:
        assert parse_features(done.stdout).recursive_read_only


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory that is mounted shared, as on a host with systemd."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "--make-shared", "shared", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--recursive", str(place)], check=True)


def test_mounts_cross_as_asked(sandbox: BusyboxRuntime, shared: Path) -> None:
    (sandbox.rootfs / "bin/umount").symlink_to("busybox")
    for name in ("private", "slave", "both", "from-host", "from-container"):
        (shared / name).mkdir()
    asked = replace(
        config(privileged=True),
        mounts=tuple(
            Mount(container_path=f"/{kind.value}", host_path=str(shared), propagation=kind)
            for kind in Propagation
        ),
    )
    name, built = sandbox.start(asked)
    try:
        assert built.spec.linux and built.spec.linux.rootfs_propagation == "rshared"
        subprocess.run(["mount", "-t", "tmpfs", "x", str(shared / "from-host")], check=True)
        (shared / "from-host/file").touch()
        printed = sandbox.call(
            "exec", name, "sh", "-c", "ls -d /*/from-host/file 2>/dev/null; true"
        )
        assert printed.split() == [
            "/BIDIRECTIONAL/from-host/file",
            "/HOST_TO_CONTAINER/from-host/file",
        ]
        for kind in Propagation:
            place = f"/{kind.value}/from-container"
            sandbox.call("exec", name, "mount", "-t", "tmpfs", "y", place)
            sandbox.call("exec", name, "touch", f"{place}/{kind.value}")
        # What the last one mounted is on top of the others only where it may go.
        seen = {path.name for path in (shared / "from-container").iterdir()}
        assert seen == {"BIDIRECTIONAL"}
    finally:
        sandbox.call("delete", "--force", name)


def test_read_only_everywhere(sandbox: BusyboxRuntime) -> None:
    (sandbox.rootfs / "run/kept").touch()
    (sandbox.rootfs / "var/tmp").mkdir(parents=True)
    printed, _ = sandbox.run(
        "touch /x 2>&1; ls /run; touch /run/y /tmp/y /var/tmp/y && echo wrote",
        config(),
        defaults=SpecDefaults(read_only=True),
    )
    assert "Read-only" in printed and "kept" in printed and "wrote" in printed


def test_a_cdi_device(sandbox: BusyboxRuntime, tmp_path: Path) -> None:
    touch = shutil.which("touch")
    assert touch
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi/v.json").write_text(
        json.dumps(
            {
                "cdiVersion": "0.6.0",
                "kind": "v.com/class",
                "devices": [
                    {
                        "name": "one",
                        "containerEdits": {
                            "env": ["DEVICE=one"],
                            "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/zero"}],
                            "hooks": [
                                {
                                    "hookName": "createRuntime",
                                    "path": touch,
                                    "args": ["touch", str(tmp_path / "hooked")],
                                }
                            ],
                        },
                    }
                ],
            }
        )
    )
    asked = replace(config(), cdi_devices=("v.com/class=one",))
    defaults = SpecDefaults(cdi_spec_dirs=(str(tmp_path / "cdi"),))
    printed, _ = sandbox.run(
        "echo $DEVICE; stat -c %t:%T /dev/mine",
        asked,
        defaults=defaults,
    )
    assert printed.splitlines()[:2] == ["one", "1:5"]
    assert (tmp_path / "hooked").exists()
