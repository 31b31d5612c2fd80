"""Three hosts that are really unfit: namespaces of their own, with something broken in each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.integration.node.test_this_host import COMMAND, Found, Report

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def report_of(tmp_path: Path, breaking: str) -> tuple[int, dict[str, Found]]:
    """``breaking`` is run by a shell in new namespaces, and the check after it.

    $HERE is a directory of the test's own, mounts and network are gone with the shell.
    """
    script = (
        f'set -e\n{breaking}\nset +e\n"$@"\nstatus=$?\nkill $(jobs -p) 2>/dev/null\nexit $status\n'
    )
    done = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "--net", "--uts"),
            *("bash", "-c", script, "bash", *COMMAND),
            *("--root", f"{tmp_path}/s", "--runroot", f"{tmp_path}/r"),
            *("node", "check", "--format", "json"),
        ],
        capture_output=True,
        timeout=90,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HERE": str(tmp_path),
            "PYTHON": sys.executable,
        },
    )
    assert done.stdout, done.stderr.decode()
    report = msgspec.json.decode(done.stdout, type=Report)
    return done.returncode, {each.id: each for each in report.checks}


def test_no_network(tmp_path: Path) -> None:
    status, found = report_of(
        tmp_path,
        """
hostname localhost
sysctl -qw net.ipv4.ip_forward=0
echo 'import socket, sys; s = socket.create_server(("127.0.0.1", 10250)); print(flush=True); s.accept()' > $HERE/taken.py
ip link set lo up
coproc $PYTHON $HERE/taken.py
read -u ${COPROC[0]} _
ip link set lo down
mkdir $HERE/sys
mount -t sysfs none $HERE/sys
mount --bind $HERE/sys/devices/virtual/net /sys/devices/virtual/net
""",
    )
    assert status == 2
    assert found["hostname"].text == "the host's name is localhost: every host has that one"
    assert found["loopback"].verdict == "fail"
    assert found["default-route"].verdict == "warn"
    assert found["sysctl-net-ipv4-ip-forward"].verdict == "fail"
    assert "sysctl -w net.ipv4.ip_forward=1" in found["sysctl-net-ipv4-ip-forward"].mend
    assert found["port-10250"].verdict == "fail"
    assert found["port-10248"].verdict == "pass"


def test_broken_programs(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("#!/bin/sh\necho conmon version 2.0.1\n")
    (tmp_path / "old").chmod(0o755)
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d/10-x.conflist").write_text(
        '{"cniVersion": "1.0.0",\n "name": "x",\n "plugins": 1}'
    )
    status, found = report_of(
        tmp_path,
        """
mount --bind $HERE/old "$(command -v conmon)"
mount --bind /dev/null "$(command -v runc)"
mount --bind $HERE/net.d /etc/cni/net.d
mount -t tmpfs none /usr/lib/cni
""",
    )
    assert status == 2
    assert found["conmon"].verdict == "fail"
    assert "conmon version 2.0.1; 2.1.0 is wanted" in found["conmon"].text
    assert found["cni-conflists"].text == "/etc/cni/net.d/10-x.conflist:3: 'plugins' is not a list"
    assert found["cni-plugins"].verdict == "fail"


def test_broken_files(tmp_path: Path) -> None:
    (tmp_path / "resolv").write_text("nameserver 127.0.0.53\n")
    (tmp_path / "policy").write_text('{"default": [{"type": "unheardOf"}]}')
    (tmp_path / "id").write_text("uninitialized\n")
    (tmp_path / "kubelet/config.yaml").parent.mkdir()
    (tmp_path / "kubelet/config.yaml").write_text(
        "kind: KubeletConfiguration\ncgroupDriver: systemd\nprotectKernelDefaults: true\n"
        "containerRuntimeEndpoint: unix:///run/crio/crio.sock\n"
    )
    status, found = report_of(
        tmp_path,
        """
mount --bind $HERE/resolv "$(realpath /etc/resolv.conf)"
mount --bind $HERE/policy /etc/containers/policy.json
mount --bind $HERE/id /etc/machine-id
mount -t tmpfs none /var/lib
mkdir -p /var/lib/kubelet $HERE/s $HERE/r
mount --bind $HERE/kubelet /var/lib/kubelet
mount -t tmpfs -o noexec none $HERE/s
""",
    )
    assert status == 2
    assert "/etc/resolv.conf:1: nameserver 127.0.0.53" in found["dns-loop"].text
    assert found["policy"].text.startswith("/etc/containers/policy.json:1:")
    assert found["machine-id"].verdict == "fail"
    assert "/var/lib/kubelet/config.yaml:4: " in found["kubelet-endpoint"].text
    assert found["storage-mount-options"].verdict == "fail"
    if not os.path.isdir("/run/systemd/system"):
        assert (
            "/var/lib/kubelet/config.yaml:2: cgroupDriver is systemd" in found["cgroup-driver"].text
        )
    protected = [
        each for id, each in found.items() if id.startswith("sysctl-") and each.verdict == "fail"
    ]
    assert all("config.yaml:3: protectKernelDefaults is true" in each.text for each in protected
               if "vm-" in each.id or "kernel-panic" in each.id)  # fmt: skip
