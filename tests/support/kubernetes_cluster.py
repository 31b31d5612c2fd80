"""A cluster of one host: etcd and the control plane as plain processes beside kubelet and trilbyd.

Certificates and kubeconfigs are kubeadm's, flags are those that it writes, as far as they matter
here. There is no kube-proxy and no CoreDNS: pods have addresses, services have none.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from tests.support.kubernetes import kubernetes_version, program
from tests.support.kubernetes_host import ADDRESS, Host, Process, fresh_host
from tests.support.kubernetes_node import (
    SOCKET,
    Node,
    Pod,
    configure,
    import_images,
    wait_for,
)

PODS = "10.244.0.0/16"
#: Of the first node of PODS.
NODE_PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/12"
PKI = "/etc/kubernetes/pki"
CONFIG = "/etc/kubernetes/kubeadm.yaml"
ADMIN = "/etc/kubernetes/admin.conf"
SERVER = f"https://{ADDRESS}:6443"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class Runtime(NamedTuple):
    """Another runtime under the kubelet: its socket, and the command that starts it in the host."""

    name: str
    socket: str
    command: str


class Cluster(Node):
    """A node that is in a cluster, with the control plane; ``daemons`` are its programs."""

    def __init__(self, host: Host, other: Runtime | None = None) -> None:
        super().__init__(host)
        self.other = other
        self.daemons: dict[str, Process] = {}

    def start_runtime(self) -> None:
        """trilbyd, or the other one."""
        if self.other is None:
            super().start_runtime()
            return
        self.runtime = self.host.start(self.other.name, *shlex.split(self.other.command))
        self.wait_runtime(self.other.socket)

    def make_certificates(self) -> None:
        """All of kubeadm's, and its kubeconfigs."""
        documents = [
            {
                "apiVersion": "kubeadm.k8s.io/v1beta4",
                "kind": "InitConfiguration",
                "localAPIEndpoint": {"advertiseAddress": ADDRESS, "bindPort": 6443},
                "nodeRegistration": {"name": self.name, "criSocket": f"unix://{SOCKET}"},
            },
            {
                "apiVersion": "kubeadm.k8s.io/v1beta4",
                "kind": "ClusterConfiguration",
                "kubernetesVersion": kubernetes_version(),
                "networking": {"podSubnet": PODS, "serviceSubnet": SERVICES},
            },
        ]
        self.host.path(CONFIG).write_text(yaml.safe_dump_all(documents))
        for phase in ("certs", "kubeconfig"):
            self.host.run(program("kubeadm"), "init", "phase", phase, "all", "--config", CONFIG)

    def start_control_plane(self) -> None:
        """Start its programs, and wait until the API server is ready."""
        for name in PROGRAMS[:2]:
            self.start(name)
        self.wait_api()
        # Before the API server has made its roles, they are refused and end.
        for name in PROGRAMS[2:]:
            self.start(name)
        group = "kubeadm:cluster-admins"
        self.host.run(
            *(program("kubectl"), "--kubeconfig=/etc/kubernetes/super-admin.conf"),
            *(
                "create",
                "clusterrolebinding",
                group,
                "--clusterrole=cluster-admin",
                f"--group={group}",
            ),
        )
        self.host.run(
            program("kubeadm"), "init", "phase", "upload-config", "kubeadm", "--config", CONFIG
        )

    def wait_api(self) -> None:
        """Wait until the API server is ready."""
        log = self.daemons["kube-apiserver"].log
        wait_for(self._api_is_ready, "the API server", lambda: log()[-6000:], 120)

    def start(self, name: str) -> None:
        """Start a program of the control plane."""
        flags = (f"--{flag}={value}" for flag, value in _FLAGS[name](self.name).items())
        self.daemons[name] = self.host.start(name, program(name), *flags)

    def _api_is_ready(self) -> bool:
        for name, daemon in self.daemons.items():
            assert daemon.running, f"{name}: {daemon.log()[-6000:]}"
        done = self.kubectl("get", "--raw=/readyz", check=False)
        return done == b"ok"

    def join(self, **changes: object) -> None:
        """Start the kubelet as the cluster's, and wait until the node is ready."""
        authentication = {
            "anonymous": {"enabled": True},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        }
        self.arguments = ("--kubeconfig=/etc/kubernetes/kubelet.conf",)
        changes.setdefault("address", "0.0.0.0")
        if self.other:
            changes["containerRuntimeEndpoint"] = f"unix://{self.other.socket}"
        self.start_kubelet(authentication=authentication, **changes)
        wait_for(self._node_is_ready, "the node", self.logs, 120)
        self.kubectl("label", "node", self.name, "node-role.kubernetes.io/control-plane=")

    def _node_is_ready(self) -> bool:
        found = self.get_object("node", self.name)
        conditions = found.get("status", {}).get("conditions", [])
        return "podCIDR" in found.get("spec", {}) and any(
            each["type"] == "Ready" and each["status"] == "True" for each in conditions
        )

    def kubectl(self, *words: str, stdin: bytes = b"", check: bool = True) -> bytes:
        """What kubectl says as the administrator; b"" if it fails and that is no error."""
        flag = f"--kubeconfig={ADMIN}"
        done = self.host.run(program("kubectl"), flag, *words, stdin=stdin, check=check)
        return done.stdout if done.returncode == 0 else b""

    def get_object(self, kind: str, name: str = "", *words: str) -> dict[str, Any]:
        """An object or a list; {} if it is not there."""
        text = self.kubectl(
            "get", kind, *([name] if name else []), *words, "-o", "json", check=False
        )
        found = json.loads(text or b"{}")
        assert isinstance(found, dict)
        return found

    def apply(self, document: Pod) -> None:
        """Create or change an object."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps(document).encode())


def _etcd(name: str) -> dict[str, str]:
    pki = f"{PKI}/etcd"
    return {
        "name": name,
        "data-dir": "/var/lib/etcd",
        "listen-client-urls": f"https://127.0.0.1:2379,https://{ADDRESS}:2379",
        "advertise-client-urls": f"https://{ADDRESS}:2379",
        "listen-peer-urls": f"https://{ADDRESS}:2380",
        "initial-advertise-peer-urls": f"https://{ADDRESS}:2380",
        "initial-cluster": f"{name}=https://{ADDRESS}:2380",
        "cert-file": f"{pki}/server.crt",
        "key-file": f"{pki}/server.key",
        "trusted-ca-file": f"{pki}/ca.crt",
        "client-cert-auth": "true",
        "peer-cert-file": f"{pki}/peer.crt",
        "peer-key-file": f"{pki}/peer.key",
        "peer-trusted-ca-file": f"{pki}/ca.crt",
        "peer-client-cert-auth": "true",
    }


def _api_server(name: str) -> dict[str, str]:
    return {
        "advertise-address": ADDRESS,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "client-ca-file": f"{PKI}/ca.crt",
        "enable-admission-plugins": "NodeRestriction",
        "etcd-cafile": f"{PKI}/etcd/ca.crt",
        "etcd-certfile": f"{PKI}/apiserver-etcd-client.crt",
        "etcd-keyfile": f"{PKI}/apiserver-etcd-client.key",
        "etcd-servers": "https://127.0.0.1:2379",
        "kubelet-client-certificate": f"{PKI}/apiserver-kubelet-client.crt",
        "kubelet-client-key": f"{PKI}/apiserver-kubelet-client.key",
        "secure-port": "6443",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": f"{PKI}/sa.pub",
        "service-account-signing-key-file": f"{PKI}/sa.key",
        "service-cluster-ip-range": SERVICES,
        "tls-cert-file": f"{PKI}/apiserver.crt",
        "tls-private-key-file": f"{PKI}/apiserver.key",
    }


def _controllers(name: str) -> dict[str, str]:
    config = "/etc/kubernetes/controller-manager.conf"
    return {
        "allocate-node-cidrs": "true",
        "cluster-cidr": PODS,
        "cluster-signing-cert-file": f"{PKI}/ca.crt",
        "cluster-signing-key-file": f"{PKI}/ca.key",
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "leader-elect": "false",
        "root-ca-file": f"{PKI}/ca.crt",
        "service-account-private-key-file": f"{PKI}/sa.key",
        "service-cluster-ip-range": SERVICES,
        "use-service-account-credentials": "true",
    }


def _scheduler(name: str) -> dict[str, str]:
    config = "/etc/kubernetes/scheduler.conf"
    return {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "leader-elect": "false",
    }


_FLAGS = dict(zip(PROGRAMS, (_etcd, _api_server, _controllers, _scheduler), strict=True))


@contextlib.contextmanager
def running_cluster(
    directory: Path,
    name: str,
    *,
    other: Runtime | None = None,
    log_level: str = "debug",
    **kubelet: object,
) -> Iterator[Cluster]:
    """Boot the host and start everything; ``directory`` keeps the logs."""
    with fresh_host(directory, name) as host:
        cluster = Cluster(host, other)
        cluster.log_level = log_level
        configure(host)
        with host.path("/etc/trilby/trilby.conf").open("a") as file:
            file.write(f'[trilby.network]\nbridge_subnet = "{NODE_PODS}"\nbridge_subnet_v6 = ""\n')
        cluster.make_certificates()
        cluster.start_control_plane()
        cluster.start_registry()
        cluster.start_runtime()
        import_images(cluster)
        cluster.join(**kubelet)
        yield cluster
