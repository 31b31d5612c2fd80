"""trilby node check on a node with a running kubelet and daemon, and facts of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.kubernetes_node import Node

PROGRAM = Path(__file__).resolve().parents[3] / ".venv/bin/trilby"


def test_a_node_that_runs_pods_has_no_failure(node: Node) -> None:
    done = node.host.run(PROGRAM, "node", "check", "--format", "json", check=False)
    report = json.loads(done.stdout)
    assert done.returncode == report["status"] < 2, [
        each for each in report["checks"] if each["verdict"] == "fail"
    ]
    found = {each["id"]: each for each in report["checks"]}
    for id in (
        *("kubelet-configuration", "kubelet-endpoint", "kubelet-version", "kubelet-healthz"),
        *("kubelet-serving-certificate", "cgroup-driver", "cgroup-v1-allowed", "port-10250"),
        *("trilby-socket", "trilby-answers", "storage-readable", "cni-plugins"),
    ):
        assert found[id]["verdict"] == "pass", found[id]
    # What the kubelet sets when it starts.
    for id in ("sysctl-vm-overcommit-memory", "sysctl-kernel-panic", "sysctl-kernel-panic-on-oops"):
        assert found[id]["verdict"] == "pass", found[id]
    assert "is that of kubelet" in found["port-10250"]["evidence"][0]


def test_facts_of_a_node(node: Node) -> None:
    found = json.loads(node.trilby("node", "facts", "--format", "json"))
    assert found["settings"]["kubelet_cgroup_driver"] == found["settings"]["cgroup_manager"]
    assert "/var/lib/kubelet/config.yaml" in found["files"]
