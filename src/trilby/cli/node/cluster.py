"""What trilby node check --cluster prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import msgspec

from trilby.cli.output import Column, print_json, print_rows

if TYPE_CHECKING:
    from trilby.node.cluster.picture import EtcdMember, Picture, Program, Seat
    from trilby.node.node import Node

ADMIN: Final = "/etc/kubernetes/admin.conf"
_COLOURS: Final = {"warn": "yellow", "fail": "red", "skip": "bright_black"}


def show_cluster(node: Node, kubeconfig: str, format: str) -> int:
    """Print the picture; 0: all is well, 1: something will not be, 2: something is not.

    Raises:
        NoCluster: there is no kubeconfig.
        PeerUnreachable: the API server does not answer.
        PeerRefused: it does not tell.
    """
    from trilby.node.cluster.api import api_of
    from trilby.node.cluster.picture import picture_of
    from trilby.node.errors import NoCluster

    path = kubeconfig or ADMIN
    if not node.host.exists(path):
        raise NoCluster(
            f"{path} is not there",
            hint="run it on a host of the control plane, or give --kubeconfig",
        )
    found = picture_of(node, api_of(node.host, path))
    if format == "json":
        document = msgspec.to_builtins(found)
        assert isinstance(document, dict)
        print_json({"status": found.status, **document})
    else:
        _print(found)
    return found.status


def _print(found: Picture) -> None:
    click.echo(f"{found.server}, Kubernetes {found.version}\n")
    print_rows(found.nodes, _nodes(), json=msgspec.to_builtins)
    if found.control_plane:
        click.echo()
        print_rows(found.control_plane, _programs(), json=msgspec.to_builtins)
    if found.etcd:
        click.echo()
        print_rows(found.etcd, _members(), json=msgspec.to_builtins)
    click.echo()
    if found.certificates:
        first = found.certificates[0]
        click.echo(
            f"{len(found.certificates)} certificates; the first one ends on {first.end[:10]},"
            f" in {first.days} days: {first.where}"
        )
    for each in found.problems:
        mark = click.style(each.verdict, fg=_COLOURS[each.verdict], bold=each.verdict != "skip")
        click.echo(f"{mark}  {each.text}")
    ready = sum(each.ready for each in found.nodes)
    click.echo(f"{len(found.nodes)} nodes, {ready} ready")


def _nodes() -> tuple[Column[Seat], ...]:
    return (
        Column("NODE", "Name", lambda each: each.name),
        Column("STATE", "State", _state),
        Column("ROLES", "Roles", lambda each: ",".join(each.roles) or "-"),
        Column("KUBELET", "Kubelet", lambda each: each.kubelet),
        Column("RUNTIME", "Runtime", lambda each: each.runtime),
        Column("ADDRESSES", "Addresses", lambda each: ",".join(each.addresses)),
        Column("PODS", "PodRanges", lambda each: ",".join(each.pod_ranges) or "-"),
        Column("KERNEL", "Kernel", lambda each: each.kernel),
    )


def _state(seat: Seat) -> str:
    return ("Ready" if seat.ready else "NotReady") + (",cordoned" if seat.cordoned else "")


def _programs() -> tuple[Column[Program], ...]:
    return (
        Column("CONTROL PLANE", "Name", lambda each: each.name),
        Column("NODE", "Node", lambda each: each.node),
        Column("STATE", "State", lambda each: "Ready" if each.ready else "NotReady"),
        Column("IMAGE", "Image", lambda each: each.image),
    )


def _members() -> tuple[Column[EtcdMember], ...]:
    return (
        Column("ETCD MEMBER", "Name", lambda each: each.name or each.id),
        Column("STATE", "State", _health),
        Column("ROLE", "Role", _role),
        Column("VERSION", "Version", lambda each: each.version or "-"),
        Column("SIZE", "Size", lambda each: f"{each.size / (1 << 20):.1f} MiB"),
        Column("ADDRESSES", "Addresses", lambda each: ",".join(each.urls) or "-"),
    )


def _health(member: EtcdMember) -> str:
    return "unhealthy" if member.problem else "healthy"


def _role(member: EtcdMember) -> str:
    return "leader" if member.leader else "learner" if member.learner else "follower"
