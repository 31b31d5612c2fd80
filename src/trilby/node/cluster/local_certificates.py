"""The certificates of a cluster that a host has in files: kubeadm's, and the kubelet's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from trilby.errors import TrilbyError
from trilby.node.checks.control_plane import KUBECONFIGS, PKI, certificate_files
from trilby.node.checks.kubelet import CLIENT
from trilby.node.cluster.kubeconfig import load_kubeconfig

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["local_certificates"]

FOLDER: Final = "/etc/kubernetes"


def local_certificates(node: Node) -> Iterator[tuple[str, str]]:
    """Path and PEM of each; kubeconfigs that cannot be read are left to the checks."""
    paths = [f"{PKI}/{name}" for name in certificate_files(node)]
    for path in (*paths, CLIENT):
        text = node.host.read(path)
        if text is not None:
            yield path, text
    for name in KUBECONFIGS:
        path = f"{FOLDER}/{name}"
        try:
            text = load_kubeconfig(node.host, path).certificate if node.host.exists(path) else ""
        except TrilbyError:
            continue
        if text:
            yield path, text
