"""etcd by its own HTTP gateway: health, members, alarms and size; etcd 3.5 and newer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.cluster.component import API_SERVER, ETCD, Component, component
from trilby.node.cluster.https import Https
from trilby.node.errors import PeerRefused, PeerUnreachable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trilby.node.node import Node

__all__ = ["Etcd", "Member", "Status", "etcd_here", "etcd_of_cluster"]

#: What etcd takes if nothing is said: 2 GiB.
QUOTA: Final = 2 << 30
PKI: Final = "/etc/kubernetes/pki/etcd"
#: kubeadm's client for probes; etcd's own certificate is one for clients, too.
CLIENT: Final = f"{PKI}/healthcheck-client"
LOCAL: Final = "http://127.0.0.1:2379"


class Health(msgspec.Struct, frozen=True):
    health: str = ""
    reason: str = ""


class Member(msgspec.Struct, frozen=True, rename={"peers": "peerURLs", "clients": "clientURLs"}):
    """Of one that was never started the name and the clients' URLs are empty."""

    id: str = msgspec.field(name="ID", default="")
    name: str = ""
    peers: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    learner: bool = msgspec.field(name="isLearner", default=False)


class _Members(msgspec.Struct, frozen=True):
    members: tuple[Member, ...] = ()


class _Header(msgspec.Struct, frozen=True):
    member_id: str = ""


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """Numbers are text here, as JSON of 64-bit integers is; ``leader`` is "" or "0" without one."""

    header: _Header = _Header()
    version: str = ""
    db_size: str = "0"
    db_size_in_use: str = "0"
    db_size_quota: str = "0"
    leader: str = ""


class _Alarm(msgspec.Struct, frozen=True):
    member_id: str = msgspec.field(name="memberID", default="")
    alarm: str = ""


class _Alarms(msgspec.Struct, frozen=True):
    alarms: tuple[_Alarm, ...] = ()


class Etcd(msgspec.Struct, frozen=True):
    """``servers`` are URLs for clients; ``https`` has the certificates, and the first of them."""

    servers: tuple[str, ...]
    https: Https

    def at(self, server: str) -> Etcd:
        """The same etcd by one server of it."""
        return Etcd((server,), msgspec.structs.replace(self.https, server=server.rstrip("/")))

    def health(self) -> Health:
        """Of the first server; an unhealthy one says so, too. Raises PeerUnreachable."""
        answer = self.https.ask("/health")
        try:
            return msgspec.json.decode(answer.body, type=Health)
        except msgspec.DecodeError:
            return Health("false", f"{answer.status} {answer.text[:200]}")

    def members(self) -> tuple[Member, ...]:
        """By name, asked of the first server that answers. Raises PeerUnreachable, PeerRefused."""
        problem: PeerUnreachable | PeerRefused | None = None
        for server in self.servers:
            try:
                found = self.at(server).https.read("/v3/cluster/member/list", _Members, b"{}")
                return tuple(sorted(found.members, key=lambda each: (each.name, each.id)))
            except (PeerUnreachable, PeerRefused) as error:
                problem = error
        raise problem or PeerUnreachable("no server of etcd is known")

    def status(self) -> Status:
        """Of the first server. Raises PeerUnreachable, PeerRefused."""
        return self.https.read("/v3/maintenance/status", Status, b"{}")

    def alarms(self) -> tuple[str, ...]:
        """As NOSPACE, CORRUPT. Raises PeerUnreachable, PeerRefused."""
        found = self.https.read("/v3/maintenance/alarm", _Alarms, b'{"action": "GET"}')
        return tuple(dict.fromkeys(each.alarm for each in found.alarms))


def etcd_here(node: Node) -> Etcd | None:
    """The member that this host runs; None if there is none."""
    program = component(node, ETCD)
    if program is None:
        return None
    urls = tuple(filter(None, program.flags.get("listen-client-urls", LOCAL).split(",")))
    local = sorted(urls, key=lambda url: "//127.0.0.1:" not in url)
    return _etcd(node, tuple(local), _client_files(node, program))


def etcd_of_cluster(node: Node) -> Etcd | None:
    """The etcd that the API server of this host uses, its own or others'; None without one."""
    program = component(node, API_SERVER)
    if program is None:
        return etcd_here(node)
    flags = program.flags
    urls = tuple(filter(None, flags.get("etcd-servers", "").split(",")))
    files = [flags.get(f"etcd-{each}", "") for each in ("cafile", "certfile", "keyfile")]
    return _etcd(node, urls, files) if urls else etcd_here(node)


def _client_files(node: Node, program: Component) -> list[str]:
    """CA, certificate and key of a client."""
    authority = program.flags.get("trusted-ca-file", "")
    if node.host.exists(f"{CLIENT}.crt"):
        return [authority, f"{CLIENT}.crt", f"{CLIENT}.key"]
    return [authority, program.flags.get("cert-file", ""), program.flags.get("key-file", "")]


def _etcd(node: Node, urls: tuple[str, ...], files: Sequence[str]) -> Etcd:
    texts = [_text(node, path) for path in files]
    https = Https(
        host=node.host,
        server=urls[0].rstrip("/"),
        authority=texts[0],
        certificate=texts[1],
        key=texts[2],
    )
    return Etcd(urls, https)


def _text(node: Node, path: str) -> str:
    if not path:
        return ""
    text = node.host.read(path)
    if text is None:
        raise PeerUnreachable(f"{os.path.basename(path)} is not at {path}", hint="kubeadm certs")
    return text
