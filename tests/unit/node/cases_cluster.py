"""Hosts that are in a cluster, or run its control plane, and what is wrong with them there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate

from tests.support.made_host import ENDING, EXPIRED, VALID, Files, MadeHost, says, script
from tests.support.tls_server import ADDRESS, Answers, authority, kubeconfig, tls_server
from tests.unit.node.case import Case
from tests.unit.node.cases_services import mode

SERVER = f"https://{ADDRESS}:6443"
CONF = "etc/kubernetes/kubelet.conf"
PKI = "etc/kubernetes/pki"
MANIFESTS = "etc/kubernetes/manifests"
JOINED: Files = {CONF: kubeconfig(SERVER)}
NODE = "/api/v1/nodes/node1"
KUBEADM = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
SERVICES = "/apis/networking.k8s.io/v1/servicecidrs"


def node(
    ready: str = "True", *ranges: str, cordoned: bool = False, pressure: str = "False"
) -> dict[str, object]:
    return {
        "metadata": {"name": "node1", "labels": {}},
        "spec": {"podCIDRs": list(ranges), "unschedulable": cordoned},
        "status": {
            "conditions": [
                {"type": "DiskPressure", "status": pressure, "message": "disk is full"},
                {"type": "Ready", "status": ready, "reason": "KubeletNotReady",
                 "message": "container runtime is down"},
            ],
        },
    }  # fmt: skip


def kubeadm(pods: str, services: str) -> dict[str, object]:
    text = f"networking:\n  podSubnet: {pods}\n  serviceSubnet: {services}\n"
    return {"data": {"ClusterConfiguration": text}}


def api(changes: Answers | None = None, seconds: float = 0.0) -> Callable[[MadeHost], None]:
    """An API server whose clock is so many seconds ahead."""
    answers: dict[str, tuple[int, object]] = {
        "/readyz": (200, "ok"),
        "/version": (200, {"gitVersion": "v1.36.3"}),
        NODE: (200, node()),
        **(changes or {}),
    }

    def prepare(host: MadeHost) -> None:
        date = formatdate(time.time() + seconds, usegmt=True) if seconds else ""
        host.servers[6443] = host.ends.enter_context(tls_server(answers, date))

    return prepare


def ranges(pods: str, services: str) -> Callable[[MadeHost], None]:
    return api({KUBEADM: (200, kubeadm(pods, services))})


CLOCK = "203.0.112.9:6443"
UNREADY = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed"
#: eth0 has 203.0.112.0/24; pods of the bridge cni0 have 10.88.0.0/16.
NODES = (
    Case("api-server", "skip", "not in a cluster"),
    Case("api-server", "pass", "/readyz says 200 OK", JOINED, api()),
    Case("api-server", "fail", "cannot be reached: Connection refused", JOINED),
    Case("api-server", "fail", "no server is named", {CONF: "kind: Config\n"}),
    Case("api-server", "fail", "kubelet.conf:1:", {CONF: "["}),
    Case("api-server", "fail", "no certificate to trust",
         {CONF: kubeconfig(SERVER).replace("certificate-authority-data", "x")}, api()),
    Case("api-server", "fail", "/readyz says 401", JOINED, api({"/readyz": (401, {"message": "Unauthorized"})})),
    Case("api-server", "fail", "[-]etcd failed", JOINED, api({"/readyz": (500, UNREADY)})),
    Case("cluster-identity", "skip", "not in a cluster"),
    Case("cluster-identity", "pass", "it is node node1", JOINED),
    Case("cluster-identity", "fail", "it is node other", {CONF: kubeconfig(SERVER, "/O=system:nodes/CN=system:node:other")}),
    Case("cluster-identity", "fail", "names no node, but admin", {CONF: kubeconfig(SERVER, "/CN=admin")}),
    Case("cluster-node", "skip", "not in a cluster"),
    Case("cluster-node", "pass", "node node1 is ready", JOINED, api()),
    Case("cluster-node", "fail", "container runtime is down", JOINED, api({NODE: (200, node("False"))})),
    Case("cluster-node", "fail", "no condition Ready", JOINED, api({NODE: (200, {"metadata": {"name": "node1"}})})),
    Case("cluster-node", "fail", "404", JOINED, api({NODE: (404, {"message": "nodes \"node1\" not found"})})),
    Case("cluster-node", "warn", "gets no pods", JOINED, api({NODE: (200, node(cordoned=True))})),
    Case("cluster-node", "warn", "DiskPressure is True, disk is full", JOINED, api({NODE: (200, node(pressure="True"))})),
    Case("cluster-clock", "skip", "not in a cluster"),
    Case("cluster-clock", "pass", "less than 2 s off", JOINED, api()),
    Case("cluster-clock", "warn", f"or more behind https://{CLOCK}", JOINED, api(seconds=12)),
    Case("cluster-clock", "fail", f"or more ahead of https://{CLOCK}", JOINED, api(seconds=-900)),
    Case("cluster-version-skew", "skip", "not in a cluster"),
    Case("cluster-version-skew", "skip", "not installed", {**JOINED, "usr/bin/kubelet": None}, api()),
    Case("cluster-version-skew", "pass", "kubelet 1.36.3, API server 1.36.3", JOINED, api()),
    Case("cluster-version-skew", "pass", "kubelet 1.33.1", {**JOINED, "usr/bin/kubelet": says("Kubernetes v1.33.1")}, api()),
    Case("cluster-version-skew", "fail", "may not be newer", {**JOINED, "usr/bin/kubelet": says("Kubernetes v1.37.0")}, api()),
    Case("cluster-version-skew", "fail", "older at most", {**JOINED, "usr/bin/kubelet": says("Kubernetes v1.32.9")}, api()),
    Case("cluster-version-skew", "fail", "has no version", JOINED, api({"/version": (200, {})})),
    Case("cluster-ranges", "skip", "not in a cluster"),
    Case("cluster-ranges", "skip", "names no ranges", JOINED, api()),
    Case("cluster-ranges", "pass", "nobody else has 10.88.0.0/16", JOINED, ranges("10.88.0.0/16", "10.96.0.0/12")),
    Case("cluster-ranges", "pass", "a ServiceCIDR is 10.96.0.0/12", JOINED,
         api({SERVICES: (200, {"items": [{"spec": {"cidrs": ["10.96.0.0/12"]}}]})})),
    Case("cluster-ranges", "fail", "10.96.0.0/16 of pods overlaps with 10.96.0.0/12 of services", JOINED,
         ranges("10.96.0.0/16", "10.96.0.0/12")),
    Case("cluster-ranges", "fail", "overlaps with 203.0.112.0/24 on eth0", JOINED, ranges("203.0.0.0/16", "10.96.0.0/12")),
    Case("cluster-ranges", "fail", "cannot be understood", JOINED, ranges("10.96.0.1/12", "10.0.0.0/24")),
    Case("cluster-ranges", "fail", "kubeadm-config:", JOINED,
         api({KUBEADM: (200, {"data": {"ClusterConfiguration": "["}})})),
    Case("cluster-pod-range", "skip", "not in a cluster"),
    Case("cluster-pod-range", "skip", "has no podCIDRs", JOINED, api()),
    Case("cluster-pod-range", "pass", "is of node node1's 10.88.0.0/16", JOINED, api({NODE: (200, node("True", "10.88.0.0/16"))})),
    Case("cluster-pod-range", "warn", "podCIDRs has 10.244.1.0/24", JOINED, api({NODE: (200, node("True", "10.244.1.0/24"))})),
)  # fmt: skip


def static_pod(name: str, image: str, **flags: str) -> str:
    words = [name, *(f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items())]
    return json.dumps(
        {"kind": "Pod", "spec": {"containers": [{"name": name, "image": image, "command": words}]}},
        indent=1,
    )


def image(name: str, version: str) -> str:
    return f"registry.k8s.io/{name}:v{version}"


def control_plane(
    services: str = "10.96.0.0/12",
    pods: str = "10.88.0.0/16",
    version: str = "1.36.3",
    **others: str,
) -> Files:
    """Its static pods; ``others`` are versions by a program's last word."""
    return {
        f"{MANIFESTS}/kube-apiserver.yaml": static_pod(
            "kube-apiserver", image("kube-apiserver", version), service_cluster_ip_range=services,
            etcd_servers="https://127.0.0.1:2379", etcd_cafile="/etc/kubernetes/pki/etcd/ca.crt",
            etcd_certfile="/etc/kubernetes/pki/apiserver-etcd-client.crt",
            etcd_keyfile="/etc/kubernetes/pki/apiserver-etcd-client.key",
        ),
        f"{MANIFESTS}/kube-controller-manager.yaml": static_pod(
            "kube-controller-manager",
            image("kube-controller-manager", others.get("manager", version)), cluster_cidr=pods,
        ),
        f"{MANIFESTS}/kube-scheduler.yaml": static_pod(
            "kube-scheduler", image("kube-scheduler", others.get("scheduler", version))
        ),
        f"{MANIFESTS}/etcd.yaml": static_pod(
            "etcd", "registry.k8s.io/etcd:3.6.8-0", data_dir="/var/lib/etcd",
            listen_client_urls="https://127.0.0.1:2379,https://203.0.112.5:2379",
            cert_file="/etc/kubernetes/pki/etcd/server.crt",
            key_file="/etc/kubernetes/pki/etcd/server.key",
            trusted_ca_file="/etc/kubernetes/pki/etcd/ca.crt",
        ),
        "var/lib/etcd": "DIR",
        **_pki(),
    }  # fmt: skip


def _pki() -> Files:
    certificate, key = authority().sign("etcd-client", "/O=system:masters/CN=etcd-client")
    return {
        f"{PKI}/ca.crt": VALID,
        f"{PKI}/apiserver.crt": VALID,
        f"{PKI}/etcd/ca.crt": authority().certificate,
        f"{PKI}/apiserver-etcd-client.crt": certificate,
        f"{PKI}/apiserver-etcd-client.key": key,
        f"{PKI}/etcd/server.crt": certificate,
        f"{PKI}/etcd/server.key": key,
    }


ROUTES = "proc/1/net/route"
HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def route(link: str, network: str, gateway: str, mask: str) -> Files:
    return {ROUTES: f"{HEAD}{link}\t{network}\t{gateway}\t0003\t0\t0\t0\t{mask}\t0\t0\t0\n"}


def addresses(link: str, address: str) -> Files:
    found = json.dumps([{"ifname": link, "addr_info": [{"local": address}]}])
    return {"usr/sbin/ip": says(found)}


ADMIN = "etc/kubernetes/admin.conf"
CONTROL_PLANES = (
    Case("control-plane-certificates", "skip", "not of the control plane"),
    Case("control-plane-certificates", "skip", "kept elsewhere", {**control_plane(), PKI: None}),
    Case("control-plane-certificates", "pass", "apiserver.crt is valid until",
         {**control_plane(), f"{PKI}/apiserver-etcd-client.crt": VALID}),
    Case("control-plane-certificates", "fail", "apiserver.crt expired on",
         {**control_plane(), f"{PKI}/apiserver.crt": EXPIRED}),
    Case("control-plane-certificates", "warn", "etcd/ca.crt is valid until",
         {**control_plane(), f"{PKI}/etcd/ca.crt": ENDING}),
    Case("control-plane-kubeconfigs", "skip", "no kubeconfig"),
    Case("control-plane-kubeconfigs", "pass", "admin.conf is valid until", {ADMIN: kubeconfig(SERVER, "/CN=admin")}),
    Case("control-plane-kubeconfigs", "fail", "no server is named", {ADMIN: "kind: Config\n"}),
    Case("control-plane-kubeconfigs", "fail", "x.crt is not there",
         {ADMIN: "clusters: [{cluster: {server: 'https://a'}}]\nusers: [{user: {client-certificate: x.crt}}]\n"}),
    Case("control-plane-kubeconfigs", "fail", "expired on",
         {ADMIN: "clusters: [{cluster: {server: 'https://a'}}]\nusers: [{user: {client-certificate: x.crt}}]\n",
          "etc/kubernetes/x.crt": EXPIRED}),
    Case("control-plane-keys", "skip", "no keys", {f"{PKI}/ca.key": None}),
    Case("control-plane-keys", "pass", "2 keys", control_plane()),
    Case("control-plane-keys", "warn", "admin.conf has mode 0644", {ADMIN: kubeconfig(SERVER, "/CN=admin")}),
    Case("control-plane-manifests", "skip", "no static pod"),
    Case("control-plane-manifests", "fail", "others may write to /etc/kubernetes/manifests/etcd.yaml",
         control_plane(), mode(f"{MANIFESTS}/etcd.yaml", 0o666)),
    Case("control-plane-manifests", "pass", "nobody but root", control_plane()),
    Case("control-plane-versions", "skip", "not of the control plane"),
    Case("control-plane-versions", "skip", "names no version", control_plane(version="x")),
    Case("control-plane-versions", "pass", "kube-apiserver:v1.36.3", control_plane()),
    Case("control-plane-versions", "fail", "newer than the API server", control_plane(manager="1.37.0")),
    Case("control-plane-versions", "fail", "more than one minor", control_plane(scheduler="1.34.3")),
    Case("control-plane-versions", "warn", "another one", control_plane(scheduler="1.35.4")),
    Case("control-plane-ranges", "skip", "not of the control plane"),
    Case("control-plane-ranges", "skip", "no flag", control_plane("", "")),
    Case("control-plane-ranges", "pass", "nobody else has 10.96.0.0/12", control_plane()),
    Case("control-plane-ranges", "fail", "overlaps with 10.96.0.0/12 of services", control_plane(pods="10.100.0.0/16")),
    # A route to another node's pods is as it should be; one to everything near them is not.
    Case("control-plane-ranges", "pass", "nobody else has 10.88.0.0/16",
         {**control_plane(), **route("eth0", "0001580A", "017000CB", "00FFFFFF")}),
    Case("control-plane-ranges", "warn", "overlaps with 10.0.0.0/8 on eth0, which goes by a gateway",
         {**control_plane(), **route("eth0", "0000000A", "017000CB", "000000FF")}),
    Case("control-plane-ranges", "pass", "nobody else has 10.88.0.0/16", {**control_plane(), **addresses("cni0", "10.88.0.1")}),
    Case("control-plane-ranges", "fail", "the host's own 10.97.0.4 on eth0", {**control_plane(), **addresses("eth0", "10.97.0.4")}),
    Case("control-plane-ranges", "fail", "ip -json address", {**control_plane(), "usr/sbin/ip": script("echo '{'")}),
    Case("control-plane-ranges", "fail", "has no containers", {**control_plane(), f"{MANIFESTS}/kube-apiserver.yaml": "spec: {}\n"}),
)  # fmt: skip

STATUS = {"version": "3.6.8", "leader": "1", "dbSize": "20480", "dbSizeQuota": "2147483648"}
FIRST = {
    "ID": "1",
    "name": "cp1",
    "peerURLs": ["https://a:2380"],
    "clientURLs": ["https://127.0.0.1:2379"],
}
DEAD = {**FIRST, "ID": "2", "name": "cp2", "clientURLs": ["https://127.0.0.1:9"]}
NEVER = {"ID": "3", "peerURLs": ["https://c:2380"]}


def etcd(
    *members: object, health: object = None, status: object = STATUS, alarms: tuple[str, ...] = ()
) -> Callable[[MadeHost], None]:
    healthy = {"health": "true", "reason": ""} if health is None else health
    answers: Answers = {
        "/health": (200 if health is None else 503, healthy),
        "/v3/maintenance/status": (200, status),
        "/v3/maintenance/alarm": (200, {"alarms": [{"memberID": "1", "alarm": each} for each in alarms]}),
        "/v3/cluster/member/list": (200, {"members": list(members or (FIRST,))}),
    }  # fmt: skip

    def prepare(host: MadeHost) -> None:
        host.servers[2379] = host.ends.enter_context(tls_server(answers))

    return prepare


def disk(milliseconds: float) -> Callable[[MadeHost], None]:
    return lambda host: setattr(host, "syncs", [0.001, milliseconds / 1000])


HERE = control_plane()
ETCD = (
    Case("etcd-disk", "skip", "no etcd runs"),
    Case("etcd-disk", "pass", "/var/lib/etcd: a write is safe after", HERE),
    Case("etcd-disk", "warn", "25.00 ms (p99) of 2; etcd's advice is 10 ms", HERE, disk(25)),
    Case("etcd-disk", "fail", "heartbeats every 100 ms", HERE, disk(250)),
    Case("etcd-disk", "fail", "which is no directory", {**HERE, "var/lib/etcd": None}),
    Case("etcd-health", "skip", "no etcd runs"),
    Case("etcd-health", "pass", "healthy, etcd 3.6.8, 0.0 MiB of 2048", HERE, etcd()),
    Case("etcd-health", "fail", "Connection refused", HERE),
    Case("etcd-health", "fail", "RAFT NO LEADER", HERE, etcd(health={"health": "false", "reason": "RAFT NO LEADER"})),
    Case("etcd-health", "fail", "503 gone", HERE, etcd(health="gone")),
    Case("etcd-health", "fail", "there is no leader", HERE, etcd(status={"version": "3.6.8"})),
    Case("etcd-health", "fail", "alarms NOSPACE", HERE, etcd(alarms=("NOSPACE",))),
    Case("etcd-health", "warn", "1900.0 MiB of 2048", HERE, etcd(status={**STATUS, "dbSize": str(1900 << 20)})),
    Case("etcd-health", "fail", "ca.crt is not at", {**HERE, f"{PKI}/etcd/ca.crt": None}),
    Case("etcd-members", "skip", "neither etcd nor an API server"),
    Case("etcd-members", "pass", "1 members: cp1; all healthy", HERE, etcd()),
    Case("etcd-members", "warn", "an even number", HERE, etcd(FIRST, {**FIRST, "ID": "2", "name": "cp2"})),
    Case("etcd-members", "warn", "cp2: https://127.0.0.1:9 cannot be reached", HERE,
         etcd(FIRST, DEAD, {**FIRST, "ID": "3", "name": "cp3"})),
    Case("etcd-members", "fail", "3: was never started", HERE, etcd(FIRST, DEAD, NEVER)),
    Case("etcd-members", "skip", "nobody says where", {
        f"{MANIFESTS}/kube-apiserver.yaml": static_pod("kube-apiserver", image("kube-apiserver", "1.36.3"))}),
)  # fmt: skip

CASES = (*NODES, *CONTROL_PLANES, *ETCD)
