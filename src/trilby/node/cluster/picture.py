"""A picture of a cluster from one host of its control plane: who is there, and how they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from trilby.errors import TrilbyError
from trilby.node.checks.certificates import SOON
from trilby.node.checks.etcd import unhealthy
from trilby.node.cluster.etcd import Status, etcd_of_cluster
from trilby.node.cluster.https import peer_certificate
from trilby.node.cluster.local_certificates import local_certificates
from trilby.node.errors import PeerRefused, PeerUnreachable
from trilby.node.model import STATUS, Verdict
from trilby.system.certificates import certificate_dates

if TYPE_CHECKING:
    from trilby.node.cluster.api import Api
    from trilby.node.cluster.etcd import Etcd, Member
    from trilby.node.cluster.objects import NodeObject, PodObject
    from trilby.node.node import Node

__all__ = ["Certificate", "EtcdMember", "Picture", "Problem", "Program", "Seat", "picture_of"]

S = TypeVar("S")
T = TypeVar("T")

ROLE: Final = "node-role.kubernetes.io/"
CONTROL_PLANE: Final = "control-plane"
#: Peers that are asked at a time.
TOGETHER: Final = 16
DAY: Final = 86400


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """A node. ``state`` is Ready, or what it is instead; ``cordoned``: it gets no new pods."""

    name: str
    ready: bool
    state: str
    cordoned: bool
    roles: tuple[str, ...]
    kubelet: str
    runtime: str
    os: str
    kernel: str
    addresses: tuple[str, ...]
    pod_ranges: tuple[str, ...]


class Program(msgspec.Struct, frozen=True):
    """A static pod of the control plane, of kubeadm's names."""

    name: str
    node: str
    image: str
    ready: bool


class EtcdMember(msgspec.Struct, frozen=True, kw_only=True):
    """``problem`` is "" for a healthy one; ``size`` is the database's in bytes."""

    name: str
    id: str
    urls: tuple[str, ...]
    version: str = ""
    leader: bool = False
    learner: bool = False
    size: int = 0
    problem: str = ""


class Certificate(msgspec.Struct, frozen=True):
    """``end`` is UTC as 2027-11-26T12:00:00Z."""

    where: str
    end: str
    days: int


class Problem(msgspec.Struct, frozen=True):
    verdict: Verdict
    text: str


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """``certificates`` begin with the one that ends first."""

    server: str
    version: str
    nodes: tuple[Seat, ...]
    control_plane: tuple[Program, ...]
    etcd: tuple[EtcdMember, ...]
    certificates: tuple[Certificate, ...]
    problems: tuple[Problem, ...]

    @property
    def status(self) -> int:
        """0: all is well, 1: something will not be, 2: something is not."""
        return max((STATUS[each.verdict] for each in self.problems), default=0)


def picture_of(node: Node, api: Api) -> Picture:
    """Ask the API server, etcd and each node's TLS servers.

    Raises PeerUnreachable and PeerRefused if the API server does not tell; what others do not tell
    is a problem of the picture.
    """
    version = api.version()
    found = api.nodes()
    programs = [_program(pod) for pod in api.control_plane_pods()]
    problems: list[Problem] = []
    with ThreadPoolExecutor(TOGETHER) as pool:
        certificates = [*_local(node, problems), *_remote(node, found, pool)]
        members = _etcd(node, pool, problems)
    seats = [_seat(each) for each in found]
    certificates.sort(key=lambda each: (each.end, each.where))
    problems += _problems(seats, programs, members, certificates)
    return Picture(
        server=api.config.server,
        version=version,
        nodes=tuple(seats),
        control_plane=tuple(sorted(programs, key=lambda each: (each.name, each.node))),
        etcd=tuple(members),
        certificates=tuple(certificates),
        problems=tuple(problems),
    )


def _seat(node: NodeObject) -> Seat:
    ready = node.ready()
    is_ready = ready is not None and ready.status == "True"
    said = (ready.message or ready.reason or ready.status) if ready else "nothing is known"
    info = node.status.node_info
    return Seat(
        name=node.metadata.name,
        ready=is_ready,
        state="Ready" if is_ready else f"NotReady: {said}",
        cordoned=bool(node.spec.unschedulable),
        roles=_roles(node),
        kubelet=info.kubelet_version,
        runtime=info.container_runtime_version,
        os=info.os_image,
        kernel=info.kernel_version,
        addresses=_addresses(node),
        pod_ranges=node.spec.pod_cidrs or (),
    )


def _roles(node: NodeObject) -> tuple[str, ...]:
    labels = node.metadata.labels or {}
    return tuple(sorted(name.removeprefix(ROLE) for name in labels if name.startswith(ROLE)))


def _addresses(node: NodeObject) -> tuple[str, ...]:
    return tuple(
        each.address for each in node.status.addresses or () if each.type.endswith("IP")
    )  # fmt: skip


def _program(pod: PodObject) -> Program:
    labels = pod.metadata.labels or {}
    name = labels.get("component", pod.metadata.name)
    containers = pod.spec.containers
    image = containers[0].image if containers else ""
    return Program(name, pod.spec.node_name, image, pod.is_ready())


def _certificate(pem: str, where: str) -> Certificate:
    """Raises ValueError."""
    _, end = certificate_dates(pem)
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    return Certificate(where, shown, int((end - time.time()) // DAY))


def _local(node: Node, problems: list[Problem]) -> Iterator[Certificate]:
    """Of this host's own files."""
    for path, pem in local_certificates(node):
        try:
            yield _certificate(pem, path)
        except ValueError as error:
            problems.append(Problem(Verdict.FAIL, f"{path}: {error}"))


def _remote(
    node: Node, nodes: Sequence[NodeObject], pool: ThreadPoolExecutor
) -> Iterator[Certificate]:
    """What kubelets and API servers show to whoever connects; who does not answer is left out.

    Whether they are well is said by the nodes' states.
    """
    asked: list[tuple[str, int, str]] = []
    for each in nodes:
        name, address = each.metadata.name, next(iter(_addresses(each)), "")
        port = each.status.daemon_endpoints.kubelet_endpoint.port
        if address and port:
            asked.append((address, port, f"{name}: kubelet's server"))
        if address and CONTROL_PLANE in _roles(each):
            asked.append((address, 6443, f"{name}: API server"))

    def ask(peer: tuple[str, int, str]) -> Certificate | None:
        address, port, where = peer
        try:
            return _certificate(peer_certificate(node.host, address, port), where)
        except (OSError, ValueError):
            return None

    yield from filter(None, pool.map(ask, asked))


def _etcd(node: Node, pool: ThreadPoolExecutor, problems: list[Problem]) -> list[EtcdMember]:
    try:
        etcd = etcd_of_cluster(node)
        if etcd is None:
            problems.append(
                Problem(Verdict.SKIP, "etcd is not seen from here: no API server runs on this host")
            )
            return []
        members = etcd.members()
    except TrilbyError as error:
        problems.append(Problem(Verdict.FAIL, f"etcd: {error.message}"))
        return []
    return list(_all(pool, lambda each: _member(etcd, each), members))


def _all(pool: ThreadPoolExecutor, work: Callable[[S], T], those: Iterable[S]) -> Iterator[T]:
    return pool.map(work, those)


def _member(etcd: Etcd, member: Member) -> EtcdMember:
    problem, status = unhealthy(etcd, member), Status()
    if member.clients:
        try:
            status = etcd.at(member.clients[0]).status()
        except (PeerUnreachable, PeerRefused) as error:
            problem = problem or error.message
    return EtcdMember(
        name=member.name,
        id=f"{int(member.id or 0):x}",
        urls=member.clients,
        version=status.version,
        leader=bool(member.id) and status.leader == member.id,
        learner=member.learner,
        size=int(status.db_size),
        problem=problem,
    )


def _problems(
    seats: list[Seat],
    programs: list[Program],
    members: list[EtcdMember],
    certificates: list[Certificate],
) -> Iterator[Problem]:
    for seat in seats:
        if not seat.ready:
            yield Problem(Verdict.FAIL, f"node {seat.name}: {seat.state}")
        elif seat.cordoned:
            yield Problem(Verdict.WARN, f"node {seat.name} gets no new pods")
    for program in programs:
        if not program.ready:
            yield Problem(Verdict.FAIL, f"{program.name} on {program.node} is not ready")
    for member in members:
        if member.problem:
            yield Problem(Verdict.FAIL, f"etcd {member.name or member.id}: {member.problem}")
    if members and not any(each.leader for each in members):
        yield Problem(Verdict.FAIL, "etcd has no leader")
    for each in certificates:
        if each.days < 0:
            yield Problem(Verdict.FAIL, f"{each.where} expired on {each.end[:10]}")
        elif each.days * DAY < SOON:
            yield Problem(Verdict.WARN, f"{each.where} ends on {each.end[:10]}")
