"""Checks of etcd: its disk, its health, and whether its members are enough of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trilby.node.cluster.component import API_SERVER, ETCD, component
from trilby.node.cluster.etcd import QUOTA, etcd_here, etcd_of_cluster
from trilby.node.errors import PeerRefused, PeerUnreachable
from trilby.node.model import Check, Seen, failed, passed, skipped, warned

if TYPE_CHECKING:
    from trilby.node.cluster.etcd import Etcd, Member
    from trilby.node.node import Node

__all__ = ["CHECKS", "percentile", "unhealthy"]

GROUP: Final = "etcd"
DATA: Final = "/var/lib/etcd"
#: etcd's advice: 99 of 100 writes of its log are safe after 10 ms; its heartbeat comes after 100.
GOOD: Final = 0.010
BAD: Final = 0.100
WRITES: Final = 200
SECONDS: Final = 1.0
#: Of the quota; when it is full, etcd takes no writes any more.
FULL: Final = 0.8
MIB: Final = 1 << 20


def _none(node: Node) -> Seen | None:
    return None if component(node, ETCD) else skipped("no etcd runs on this host")


def percentile(values: list[float], share: float) -> float:
    """The value that so many of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _disk(node: Node) -> Seen:
    program = component(node, ETCD)
    if program is None or not node.host.live:
        return skipped("no etcd runs on this host")
    folder = program.flags.get("data-dir", DATA)
    if not node.host.is_directory(folder):
        return failed(f"{program.place}: --data-dir={folder}, which is no directory",
                      mend=f"mkdir -m 700 {folder}")  # fmt: skip
    took = node.host.sync_times(folder, WRITES, SECONDS)
    half, most = percentile(took, 0.5), percentile(took, 0.99)
    seen = (
        f"{folder}: a write is safe after {half * 1000:.2f} ms (p50), {most * 1000:.2f} ms (p99)"
        f" of {len(took)}"
    )
    if most > BAD:
        return failed(f"{seen}; etcd sends heartbeats every {BAD * 1000:.0f} ms")
    if most > GOOD:
        return warned(f"{seen}; etcd's advice is {GOOD * 1000:.0f} ms (p99)")
    return passed(seen)


def _health(node: Node) -> Seen:
    none = _none(node)
    if none:
        return none
    if not node.host.live:
        return skipped("a host that does not run is not asked")
    etcd = etcd_here(node)
    assert etcd is not None, "it is here"
    health = etcd.health()
    place = f"{etcd.https.server}/health"
    if health.health != "true":
        return failed(f"{place}: {health.health or 'nothing'}, {health.reason}")
    status = etcd.status()
    if status.leader in ("", "0"):
        return failed(f"{place}: there is no leader")
    if alarms := etcd.alarms():
        return failed(f"{etcd.https.server}: alarms {', '.join(alarms)}",
                      mend="etcdctl compact and defrag, then etcdctl alarm disarm")  # fmt: skip
    size, quota = int(status.db_size), int(status.db_size_quota) or QUOTA
    seen = f"{place}: healthy, etcd {status.version}, {size / MIB:.1f} MiB of {quota / MIB:.0f}"
    if size > FULL * quota:
        return warned(seen, mend="etcdctl compact, then etcdctl defrag; or a larger"
                                 " --quota-backend-bytes")  # fmt: skip
    return passed(seen)


def _members(node: Node) -> Seen:
    if not component(node, API_SERVER) and not component(node, ETCD):
        return skipped("neither etcd nor an API server runs on this host")
    etcd = etcd_of_cluster(node)
    if etcd is None:
        return skipped("nobody says where etcd is")
    members = [each for each in etcd.members() if not each.learner]
    bad = {each.name or each.id: why for each in members if (why := unhealthy(etcd, each))}
    seen = f"{len(members)} members: {', '.join(each.name or each.id for each in members)}"
    told = [f"{name}: {why}" for name, why in bad.items()]
    if len(members) - len(bad) < len(members) // 2 + 1:
        return failed(seen, *told)
    if bad:
        return warned(seen, *told)
    if not len(members) % 2:
        return warned(f"{seen}; an even number survives no more losses than one less",
                      mend="add a member, or remove one")  # fmt: skip
    return passed(f"{seen}; all healthy")


def unhealthy(etcd: Etcd, member: Member) -> str:
    """Why a member is not well; "" if it is."""
    if not member.clients:
        return "was never started"
    try:
        health = etcd.at(member.clients[0]).health()
    except (PeerUnreachable, PeerRefused) as error:
        return error.message
    return "" if health.health == "true" else health.reason or "not healthy"


CHECKS: Final = (
    Check(
        id="etcd-disk", group=GROUP, title="Latency of etcd's disk", look=_disk, slow=True,
        why="each change of the cluster waits for this; leaders are lost when it takes too long",
        mend="give etcd a disk of its own: an SSD, mounted at its data directory",
    ),
    Check(
        id="etcd-health", group=GROUP, title="etcd is healthy", look=_health, slow=True,
        why="the API server cannot write, and soon not read, without it",
        mend="crictl logs $(crictl ps -a --name etcd -q | head -1)",
    ),
    Check(
        id="etcd-members", group=GROUP, title="Members of etcd", look=_members, slow=True,
        network=True, why="more than half of them have to live",
        mend="etcdctl member list; start the member, or remove it and add it anew",
    ),
)  # fmt: skip
