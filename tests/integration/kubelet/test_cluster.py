"""trilby node check in a cluster of one host: a real API server, etcd and kubelet."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.kubernetes_cluster import ADMIN, NODE_PODS, PKI, SERVER, Cluster, running_cluster
from tests.support.kubernetes_host import ADDRESS
from tests.support.kubernetes_leftovers import need_host, place_of_host
from tests.support.kubernetes_node import BUSYBOX, wait_for

PROGRAM = Path(__file__).resolve().parents[3] / ".venv/bin/trilby"
#: It runs as static pods with images elsewhere; here they are processes.
OF_STATIC_PODS = {"control-plane-manifests", "control-plane-versions"}

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    need_host()
    with place_of_host("cluster") as (directory, name), running_cluster(directory, name) as found:
        yield found


def check(cluster: Cluster, *words: str) -> dict[str, Any]:
    """The report; its status is what the command ended with."""
    done = cluster.host.run(PROGRAM, "node", "check", "--format", "json", *words, check=False)
    assert done.stdout, done.stderr.decode()
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    assert done.returncode == report["status"], done.stderr.decode()
    return report


def by_id(cluster: Cluster, *words: str) -> dict[str, Any]:
    return {each["id"]: each for each in check(cluster, "--network", *words)["checks"]}


def test_all_checks_of_a_cluster_pass(cluster: Cluster) -> None:
    found = by_id(cluster, "--only", "cluster,etcd")
    verdicts = {id: each["verdict"] for id, each in found.items()}
    assert {id for id, verdict in verdicts.items() if verdict == "skip"} == OF_STATIC_PODS
    assert set(verdicts.values()) == {"pass", "skip"}, found
    assert f"{SERVER}: /readyz says 200 OK" in found["api-server"]["evidence"][0]
    assert f"it is node {cluster.name}" in found["cluster-identity"]["evidence"][0]
    assert any("podSubnet" in line for line in found["cluster-ranges"]["evidence"])
    assert f"{NODE_PODS}" in found["cluster-pod-range"]["evidence"][0]
    assert any("apiserver.crt" in line for line in found["control-plane-certificates"]["evidence"])
    assert "healthy, etcd 3." in found["etcd-health"]["evidence"][0]


def test_picture(cluster: Cluster) -> None:
    found = check(cluster, "--cluster")
    assert (found["server"], found["problems"]) == (SERVER, [])
    (node,) = found["nodes"]
    assert (node["name"], node["ready"], node["roles"]) == (cluster.name, True, ["control-plane"])
    assert node["runtime"].startswith("trilby://")
    assert (node["addresses"], node["pod_ranges"]) == ([ADDRESS], [NODE_PODS])
    (member,) = found["etcd"]
    assert member["leader"] and member["size"] > 0 and not member["problem"]
    names = [each["where"] for each in found["certificates"]]
    assert {f"{cluster.name}: API server", f"{cluster.name}: kubelet's server", ADMIN} <= set(names)
    assert found["certificates"][0]["days"] in (363, 364)
    text = cluster.trilby("node", "check", "--cluster").decode()
    assert text.startswith(f"{SERVER}, Kubernetes {found['version']}\n")
    assert text.endswith("1 nodes, 1 ready\n")


def test_a_node_that_gets_no_pods(cluster: Cluster) -> None:
    cluster.kubectl("cordon", cluster.name)
    try:
        found = by_id(cluster, "--only", "cluster-node")["cluster-node"]
        assert (found["verdict"], found["mend"]) == ("warn", f"kubectl uncordon {cluster.name}")
        assert check(cluster, "--cluster")["status"] == 1
    finally:
        cluster.kubectl("uncordon", cluster.name)


def test_an_etcd_that_hangs(cluster: Cluster) -> None:
    """The API server says so, too."""
    etcd = cluster.daemons["etcd"]
    with etcd.stopped():
        found = by_id(cluster, "--only", "etcd-health,etcd-members,etcd-disk")
        assert (found["etcd-health"]["verdict"], found["etcd-members"]["verdict"]) == (
            "fail",
            "fail",
        )
        assert found["etcd-disk"]["verdict"] == "pass"
    wait_for(lambda: by_id(cluster, "--only", "etcd-health")["etcd-health"]["verdict"] == "pass",
             "etcd", etcd.log)  # fmt: skip


def test_a_server_that_nobody_trusts(cluster: Cluster) -> None:
    """The kubeconfig has the CA of another cluster."""
    path = cluster.host.path("/etc/kubernetes/kubelet.conf")
    text, other = path.read_text(), cluster.host.path(f"{PKI}/etcd/ca.crt")
    own = cluster.host.path(f"{PKI}/ca.crt")
    before = own.read_text()

    def encoded(certificate: str) -> str:
        return base64.b64encode(certificate.encode()).decode()

    try:
        path.write_text(text.replace(encoded(before), encoded(other.read_text())))
        assert path.read_text() != text
        found = by_id(cluster, "--only", "api-server")["api-server"]
        assert found["verdict"] == "fail"
        assert "has no certificate to trust" in found["evidence"][0]
    finally:
        path.write_text(text)


def test_an_api_server_that_is_away(cluster: Cluster) -> None:
    server = cluster.daemons["kube-apiserver"]
    server.end(signal.SIGKILL)
    try:
        found = by_id(cluster, "--only", "cluster,etcd")
        assert "cannot be reached: Connection refused" in found["api-server"]["evidence"][0]
        for id in ("api-server", "cluster-node", "cluster-clock", "cluster-version-skew"):
            assert found[id]["verdict"] == "fail", found[id]
        assert found["etcd-health"]["verdict"] == "pass"
        done = cluster.host.run(PROGRAM, "node", "check", "--cluster", check=False)
        assert done.returncode == 5
        assert b"cannot be reached" in done.stderr
    finally:
        cluster.start("kube-apiserver")
        cluster.wait_api()


def test_a_pod_of_a_deployment(cluster: Cluster) -> None:
    """The cluster is a real one: scheduled, started, given an address of the node's range."""
    labels = {"app": "one"}
    container = {"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                 "command": ["sleep", "1000"]}  # fmt: skip
    cluster.apply({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "containers": [container], "terminationGracePeriodSeconds": 0}},
        },
    })  # fmt: skip
    try:
        cluster.kubectl("rollout", "status", "deployment/one", "--timeout=50s")
        pods = cluster.get_object("pods", "", "-l", "app=one")["items"]
        addresses = {pod["status"]["podIP"] for pod in pods}
        assert len(addresses) == 2
        assert all(address.startswith("10.244.0.") for address in addresses)
    finally:
        cluster.kubectl("delete", "deployment", "one", "--cascade=foreground", "--timeout=50s")
