"""Checks of a host of the control plane: certificates, kubeconfigs, versions, ranges."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from trilby.errors import TrilbyError
from trilby.node.checks.certificates import dates, dates_of, key_rights
from trilby.node.checks.programs import version_in
from trilby.node.cluster.component import (
    API_SERVER,
    CONTROLLERS,
    SCHEDULER,
    component,
)
from trilby.node.cluster.kubeconfig import load_kubeconfig
from trilby.node.cluster.ranges import apart, of_control_plane, of_host
from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trilby.node.node import Node

__all__ = ["CHECKS", "KUBECONFIGS", "PKI", "certificate_files"]

GROUP: Final = "cluster"
FOLDER: Final = "/etc/kubernetes"
PKI: Final = f"{FOLDER}/pki"
KUBECONFIGS: Final = (
    *("admin.conf", "super-admin.conf", "controller-manager.conf", "scheduler.conf"),
    "kubelet.conf",
)
#: What runs again with new certificates when its manifest goes away and comes back.
RESTART: Final = "restart the static pods"
AUTHORITIES: Final = ("ca.crt", "front-proxy-ca.crt", "etcd/ca.crt")


def _elsewhere(node: Node) -> Seen | None:
    """Hosts without an API server are left out."""
    if component(node, API_SERVER) is None:
        return skipped("this host is not of the control plane: no kube-apiserver runs here")
    return None


def certificate_files(node: Node) -> Iterator[str]:
    """What kubeadm made, relative to its folder."""
    for folder in ("", "etcd/"):
        for name in node.host.names(f"{PKI}/{folder}"):
            if name.endswith(".crt"):
                yield f"{folder}{name}"


def renew(name: str) -> str:
    """What gives a certificate or kubeconfig a later end."""
    if name in AUTHORITIES:
        return f"make a new CA for {name}, as Kubernetes' manual rotation of CAs tells"
    if name == "kubelet.conf":
        return "systemctl restart kubelet, and kubectl get csr"
    return f"kubeadm certs renew {name.removesuffix('.crt').replace('/', '-')}; {RESTART}"


def _certificates(node: Node) -> Seen:
    none = _elsewhere(node)
    if none:
        return none
    seen = [dates(node, f"{PKI}/{name}", renew(name)) for name in certificate_files(node)]
    return worst(seen, skipped(f"{PKI} has none: they are kept elsewhere"))


def _kubeconfigs(node: Node) -> Seen:
    seen = []
    for name in KUBECONFIGS:
        path = f"{FOLDER}/{name}"
        if not node.host.exists(path):
            continue
        try:
            text = load_kubeconfig(node.host, path).certificate
        except TrilbyError as error:
            mend = f"kubeadm init phase kubeconfig {name.removesuffix('.conf')}"
            seen.append(failed(error.message, mend=mend))
            continue
        if text:
            seen.append(dates_of(text, path, renew(name)))
    return worst(seen, skipped(f"{FOLDER} has no kubeconfig with a certificate"))


def _rights(node: Node) -> Seen:
    paths = [f"{FOLDER}/{name}" for name in KUBECONFIGS]
    for folder in (PKI, f"{PKI}/etcd"):
        paths += [f"{folder}/{name}" for name in node.host.names(folder) if name.endswith(".key")]
    seen = [key_rights(node, path) for path in paths if node.host.exists(path)]
    bad = [each for each in seen if each.verdict != "pass"]
    return worst(bad, passed(f"{len(seen)} keys and kubeconfigs are their owner's alone")
                 if seen else skipped(f"{FOLDER} has no keys and no kubeconfigs"))  # fmt: skip


def _manifests(node: Node) -> Seen:
    """They hold what makes one root of the cluster, as flags and volumes."""
    program = component(node, API_SERVER)
    if program is None or not program.image:
        return skipped("no static pod of a kube-apiserver is here")
    folder = program.place.rpartition(":")[0].rpartition("/")[0].removeprefix(_root(node))
    seen = []
    for name in node.host.names(folder):
        found = node.host.stat(f"{folder}/{name}")
        if found and stat.S_IMODE(found.st_mode) & 0o022:
            path = f"{folder}/{name}"
            seen.append(failed(f"others may write to {path}", mend=f"chmod 600 {path}"))
    return worst(seen, passed(f"nobody but root writes to {folder}"))


def _root(node: Node) -> str:
    return "" if node.host.root == "/" else node.host.root


def _versions(node: Node) -> Seen:
    none = _elsewhere(node)
    if none:
        return none
    found = {}
    for name in (API_SERVER, CONTROLLERS, SCHEDULER):
        program = component(node, name)
        version = version_in(program.image.rpartition(":")[2]) if program else ()
        if program and version:
            found[name] = version, f"{program.place}: {program.image}"
    if API_SERVER not in found:
        return skipped("the image of the kube-apiserver names no version")
    server, place = found.pop(API_SERVER)
    seen = [passed(place)]
    for version, said in found.values():
        if version[:2] > server[:2]:
            seen.append(failed(place, f"{said}: newer than the API server"))
        elif version[0] != server[0] or server[1] - version[1] > 1:
            seen.append(failed(place, f"{said}: more than one minor release older"))
        elif version != server:
            seen.append(warned(place, f"{said}: another one"))
    return worst(seen, passed(place))


def _ranges(node: Node) -> Seen:
    none = _elsewhere(node)
    if none:
        return none
    ranges = of_control_plane(node)
    return worst(
        [*apart(ranges), *of_host(node, ranges)],
        skipped("no flag of the control plane names a range"),
    )  # fmt: skip


CHECKS: Final = (
    Check(
        id="control-plane-certificates", group=GROUP, title="Certificates of the control plane",
        look=_certificates, why="when one of them has expired, the cluster stands still",
    ),
    Check(
        id="control-plane-kubeconfigs", group=GROUP, title="Certificates in kubeconfigs",
        look=_kubeconfigs, why="whoever uses a kubeconfig whose certificate has expired is refused",
    ),
    Check(
        id="control-plane-keys", group=GROUP, title="Rights of the cluster's keys", look=_rights,
        why="who has one of them is root of the cluster",
    ),
    Check(
        id="control-plane-manifests", group=GROUP, title="Rights of static pods", look=_manifests,
        why="who writes there is root of the cluster",
    ),
    Check(
        id="control-plane-versions", group=GROUP, title="Versions of the control plane",
        look=_versions, why="Kubernetes' releases work together only so far apart",
        mend="kubeadm upgrade plan",
    ),
    Check(
        id="control-plane-ranges", group=GROUP, title="Ranges of pods and services here",
        look=_ranges, why="packets for pods, services or other hosts go astray", slow=True,
        mend="choose ranges that nobody uses: kubeadm init --pod-network-cidr --service-cidr",
    ),
)  # fmt: skip
