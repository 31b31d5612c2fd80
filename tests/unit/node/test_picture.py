"""The picture of a cluster: what is told of it, what is wrong with it, and how it is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.made_host import EXPIRED, Files, made_host, node_of
from tests.support.tls_server import Answers, kubeconfig, tls_server
from tests.unit.node.cases_cluster import PKI, SERVER, control_plane, etcd

from trilby.cli.main import root_group, run
from trilby.node.cluster.api import api_of
from trilby.node.cluster.picture import Picture, picture_of
from trilby.node.errors import NoCluster, PeerRefused, PeerUnreachable

ADMIN = "etc/kubernetes/admin.conf"
FILES: Files = {**control_plane(), ADMIN: kubeconfig(SERVER, "/O=admins/CN=admin")}


def member(name: str, ready: str = "True", **changes: object) -> dict[str, object]:
    return {
        "metadata": {"name": name, "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"podCIDRs": ["10.244.0.0/24", "fd00::/64"], **changes},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "203.0.112.5"},
                {"type": "Hostname", "address": name},
            ],
            "conditions": [{"type": "Ready", "status": ready, "message": "runtime is down"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "kubeletVersion": "v1.36.3", "containerRuntimeVersion": "trilby://0.1.0",
                "osImage": "Fedora Linux 45", "kernelVersion": "6.18.4", "bootID": "x",
            },
        },
    }  # fmt: skip


def program(name: str, ready: str = "True") -> dict[str, object]:
    return {
        "metadata": {"name": f"{name}-cp1", "labels": {"component": name, "tier": "control-plane"}},
        "spec": {"nodeName": "cp1", "containers": [{"image": f"registry.k8s.io/{name}:v1.36.3"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/kube-system/pods"
ANSWERS: Answers = {
    "/version": (200, {"gitVersion": "v1.36.3"}),
    NODES: (200, {"items": [member("cp1")], "metadata": {"resourceVersion": "1"}}),
    PODS: (200, {"items": [program("kube-scheduler"), program("etcd")]}),
}


@contextmanager
def picture(changes: Answers | None = None, files: Files | None = None) -> Iterator[Picture]:
    with made_host({**FILES, **(files or {})}) as host:
        port = host.ends.enter_context(tls_server({**ANSWERS, **(changes or {})}))
        host.servers.update({6443: port, 10250: port})
        etcd()(host)
        yield picture_of(node_of(host), api_of(host, f"/{ADMIN}"))


def test_a_cluster_that_is_well() -> None:
    with picture() as found:
        assert found.status == 0 and not found.problems
        (seat,) = found.nodes
        assert (seat.name, seat.ready, seat.roles) == ("cp1", True, ("control-plane",))
        assert (seat.kubelet, seat.runtime, seat.kernel) == ("v1.36.3", "trilby://0.1.0", "6.18.4")
        assert seat.addresses == ("203.0.112.5",)
        assert seat.pod_ranges == ("10.244.0.0/24", "fd00::/64")
        assert [each.name for each in found.control_plane] == ["etcd", "kube-scheduler"]
        (only,) = found.etcd
        assert (only.name, only.version, only.problem) == ("cp1", "3.6.8", "")
        names = [each.where for each in found.certificates]
        assert {"cp1: kubelet's server", "cp1: API server", f"/{ADMIN}"} <= set(names)
        ends = [each.end for each in found.certificates]
        assert ends == sorted(ends)


def test_pages_of_nodes() -> None:
    """Each page names the next one."""

    def page(name: str, after: str) -> tuple[int, object]:
        return 200, {"items": [member(name)], "metadata": {"continue": after}}

    answers: Answers = {
        f"{NODES}?limit=500": page("c", "x"),
        f"{NODES}?limit=500&continue=x": page("a", "y/z"),
        f"{NODES}?limit=500&continue=y%2Fz": page("b", ""),
    }
    with made_host(FILES) as host:
        host.servers[6443] = host.ends.enter_context(tls_server(answers))
        found = api_of(host, f"/{ADMIN}").nodes()
        assert [each.metadata.name for each in found] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "files", "status", "says"),
    [
        ({NODES: (200, {"items": [member("cp1", "Unknown")]})}, {}, 2, "node cp1: NotReady: runtime is down"),
        ({NODES: (200, {"items": [member("cp1", unschedulable=True)]})}, {}, 1, "node cp1 gets no new pods"),
        ({PODS: (200, {"items": [program("etcd", "False")]})}, {}, 2, "etcd on cp1 is not ready"),
        ({}, {f"{PKI}/apiserver.crt": EXPIRED}, 2, "/etc/kubernetes/pki/apiserver.crt expired on"),
        ({}, {f"{PKI}/apiserver.crt": "KEY"}, 2, "there is no PEM certificate"),
        ({}, {f"{PKI}/etcd/ca.crt": None}, 2, "etcd: ca.crt is not at"),
    ],
)  # fmt: skip
def test_what_is_wrong(changes: Answers, files: Files, status: int, says: str) -> None:
    with picture(changes, files) as found:
        assert says in "\n".join(each.text for each in found.problems)
        assert found.status == status


def test_nobody_answers() -> None:
    with made_host(FILES) as host, pytest.raises(PeerUnreachable, match="cannot be reached"):
        picture_of(node_of(host), api_of(host, f"/{ADMIN}"))
    with (
        pytest.raises(PeerRefused, match="403 nodes are not for you"),
        picture({NODES: (403, {"message": "nodes are not for you"})}),
    ):
        pass
    with made_host() as host, pytest.raises(NoCluster, match="is not there"):
        api_of(host, f"/{ADMIN}")


def test_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with tls_server(ANSWERS) as port:
        conf = kubeconfig(f"https://127.0.0.1:{port}", "/O=admins/CN=admin")
        files = {**FILES, ADMIN: conf, "etc/kubernetes/manifests/kube-apiserver.yaml": None,
                 "etc/kubernetes/manifests/etcd.yaml": None}  # fmt: skip
        with made_host(files) as host:
            words = ["node", "check", "--cluster", "--root", host.root]
            assert run(root_group(), words) == 0
            out = capsys.readouterr().out
            assert out.startswith(f"https://127.0.0.1:{port}, Kubernetes v1.36.3\n\nNODE")
            lines = [" ".join(line.split()) for line in out.splitlines()]
            assert any(line.startswith("cp1 Ready control-plane v1.36.3 trilby:") for line in lines)
            assert "kube-scheduler cp1 Ready registry.k8s.io/kube-scheduler:v1.36.3" in lines
            assert "skip  etcd is not seen from here" in out
            assert out.endswith("1 nodes, 1 ready\n")
            assert run(root_group(), [*words, "--format", "json"]) == 0
            report = json.loads(capsys.readouterr().out)
            assert report["status"] == 0
            assert report["nodes"][0]["pod_ranges"] == ["10.244.0.0/24", "fd00::/64"]
    with made_host() as host:
        assert run(root_group(), ["node", "check", "--cluster", "--root", host.root]) == 2
        assert "run it on a host of the control plane" in capsys.readouterr().err
