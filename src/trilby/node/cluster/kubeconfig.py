"""Kubeconfigs: whom to ask, whom to trust, and who asks.

Of client-go's format (v1 Config) what kubeadm and the kubelet write: certificates in the file or
beside it, or a token. Programs that give credentials are not run.
"""

from __future__ import annotations

import binascii
import os
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.image.config_yaml import load_yaml
from trilby.node.errors import NoCluster
from trilby.node.kubelet_config import command_line

if TYPE_CHECKING:
    from trilby.image.config_document import Section
    from trilby.node.host import Host

__all__ = ["KUBELET", "Kubeconfig", "kubelet_kubeconfig", "load_kubeconfig"]

#: Where kubeadm puts the kubelet's.
KUBELET: Final = "/etc/kubernetes/kubelet.conf"


class Kubeconfig(msgspec.Struct, frozen=True, kw_only=True):
    """The current context of a file; ``place`` is the file and line that names the server.

    ``authority``, ``certificate`` and ``key`` are PEM; an empty authority is the system's.
    """

    path: str
    place: str
    server: str
    authority: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""
    server_name: str = ""
    verify: bool = True


def kubelet_kubeconfig(host: Host) -> str:
    """The path of the running kubelet's, or the usual one; it may not be there."""
    return command_line(host).get("kubeconfig", KUBELET)


def load_kubeconfig(host: Host, path: str) -> Kubeconfig:
    """Read a kubeconfig of the host. Raises NoCluster, ConfigError, OSError."""
    if not host.exists(path):
        raise NoCluster(f"{path} is not there", hint="kubeadm join, or name another kubeconfig")
    document = load_yaml(host.path(path))
    context = _named(document, "contexts", "context", document.string("current-context"))
    cluster = _named(document, "clusters", "cluster", _name(context, "cluster"))
    user = _named(document, "users", "user", _name(context, "user"))
    server = cluster.string("server") if cluster else ""
    if cluster is None or not server.startswith(("https://", "http://")):
        raise NoCluster(f"{document.where('clusters')} no server is named")
    files = _Files(host, path)
    return Kubeconfig(
        path=path,
        place=f"{cluster.where('server')} {server}",
        server=server.rstrip("/"),
        authority=files.text(cluster, "certificate-authority"),
        certificate=files.text(user, "client-certificate"),
        key=files.text(user, "client-key"),
        token=(user.string("token") if user else "") or files.named(user, "tokenFile").strip(),
        server_name=cluster.string("tls-server-name"),
        verify=not cluster.boolean("insecure-skip-tls-verify"),
    )


def _name(context: Section | None, kind: str) -> str:
    return context.string(kind) if context else ""


def _named(document: Section, many: str, one: str, name: str) -> Section | None:
    """The entry of that name; without a name the first one, as files of one cluster have it."""
    entries = document.sections(many)
    found = next((each for each in entries if not name or each.string("name") == name), None)
    return found.section(one) if found else None


class _Files:
    """What members are: data in the file, or the path of another one beside it."""

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self._folder = os.path.dirname(path)

    def text(self, section: Section | None, name: str) -> str:
        """``NAME-data`` in base64, which goes before the file that ``NAME`` names."""
        data = section.string(f"{name}-data") if section else ""
        if section is None or not data:
            return self.named(section, name)
        try:
            return binascii.a2b_base64(data).decode()
        except ValueError:
            raise section.error(f"{name}-data is no base64", f"{name}-data") from None

    def named(self, section: Section | None, name: str) -> str:
        path = section.string(name) if section else ""
        if section is None or not path:
            return ""
        found = self._host.read(os.path.join(self._folder, path))
        if found is None:
            raise section.error(f"{path} is not there", name)
        return found
