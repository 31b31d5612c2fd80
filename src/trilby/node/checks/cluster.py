"""Checks of a node's place in its cluster: what its API server says to the kubelet."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from trilby.node.checks.kubelet import kubelet_path
from trilby.node.checks.network import pod_subnets
from trilby.node.checks.programs import version_in
from trilby.node.cluster.api import kubelet_api, node_name
from trilby.node.cluster.https import message_of
from trilby.node.cluster.kubeconfig import kubelet_kubeconfig
from trilby.node.cluster.ranges import apart, of_api, of_host
from trilby.node.errors import NoCluster
from trilby.node.kubelet_config import command_line
from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS", "KUBELET_SKEW"]

GROUP: Final = "cluster"
#: Seconds between clocks that are told, and that leases do not survive.
CLOCK_WARN: Final = 2.0
CLOCK_FAIL: Final = 30.0
#: How many minor releases the kubelet may be behind the API server; from 1.25 on.
KUBELET_SKEW: Final = 3


def _alone(node: Node) -> Seen:
    return skipped(f"{kubelet_kubeconfig(node.host)} is not there: the kubelet is not in a cluster")


def _api_server(node: Node) -> Seen:
    api = kubelet_api(node)
    if api is None:
        return _alone(node)
    answer = api.https.ask("/readyz")
    took = (answer.received - answer.sent) * 1000
    seen = f"{api.config.place}: /readyz says {answer.status} {answer.reason}, {took:.0f} ms"
    if answer.status == 401:
        return failed(seen, message_of(answer), mend="kubeadm token create --print-join-command")
    if answer.status != 200:
        return failed(seen, *_unready(answer.text))
    return passed(f"{seen}, {answer.tls or 'not encrypted'}")


def _unready(text: str) -> list[str]:
    """The lines of a readyz that complain."""
    return [line for line in text.splitlines() if line.startswith("[-]")][:5]


def _registered(node: Node) -> Seen:
    api = kubelet_api(node)
    if api is None:
        return _alone(node)
    name = node_name(api)
    found = api.node(name)
    ready = found.ready()
    if ready is None:
        return failed(f"node {name} has no condition Ready")
    if ready.status != "True":
        said = f"{ready.reason or ''}: {ready.message or ''}"
        return failed(f"node {name}: Ready is {ready.status}", said)
    if found.spec.unschedulable:
        return warned(f"node {name} is ready, and gets no pods", mend=f"kubectl uncordon {name}")
    bad = [
        f"node {name}: {each.type} is {each.status}, {each.message or each.reason or ''}"
        for each in found.status.conditions or ()
        if each.type != "Ready" and each.status == "True"
    ]
    return warned(*bad) if bad else passed(f"node {name} is ready")


def _clock(node: Node) -> Seen:
    from email.utils import parsedate_to_datetime

    api = kubelet_api(node)
    if api is None:
        return _alone(node)
    answer = api.https.ask("/version")
    try:
        theirs = parsedate_to_datetime(answer.date).timestamp()
    except ValueError:
        return skipped(f"{api.config.server} says no date")
    # Its header has whole seconds, of any time between the question and the answer.
    early, late = theirs - answer.received, theirs + 1 - answer.sent
    apart_at_least = max(early, -late, 0.0)
    way = "ahead of" if late < 0 else "behind"
    seen = f"this host is {apart_at_least:.0f} s or more {way} {api.config.server}"
    if apart_at_least >= CLOCK_FAIL:
        return failed(seen)
    if apart_at_least >= CLOCK_WARN:
        return warned(seen)
    return passed(f"{api.config.server} says {answer.date}, less than {CLOCK_WARN:g} s off")


def _skew(node: Node) -> Seen:
    api = kubelet_api(node)
    if api is None:
        return _alone(node)
    path = kubelet_path(node)
    if not path or not node.host.live:
        return skipped("the kubelet is not installed, or the host does not run")
    ours = version_in(node.host.run(path, "--version").line)
    said = api.version()
    theirs = version_in(said)
    if not ours or not theirs:
        return failed(f"{path} or the API server has no version: {said}")
    seen = f"kubelet {_dotted(ours)}, API server {_dotted(theirs)}"
    if ours[:2] > theirs[:2]:
        return failed(f"{seen}: a kubelet may not be newer",
                      mend="upgrade the control plane first: kubeadm upgrade plan")  # fmt: skip
    if ours[0] != theirs[0] or theirs[1] - ours[1] > KUBELET_SKEW:
        return failed(f"{seen}: a kubelet may be {KUBELET_SKEW} minor releases older at most")
    return passed(seen)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _ranges(node: Node) -> Seen:
    api = kubelet_api(node)
    if api is None:
        return _alone(node)
    ranges = of_api(api, node_name(api))
    return worst([*apart(ranges), *of_host(node, ranges)], skipped("the cluster names no ranges"))


def _pod_range(node: Node) -> Seen:
    """Where the cluster gives each node a range: whether its network uses that."""
    api = kubelet_api(node)
    if api is None:
        return _alone(node)
    name = node_name(api)
    ranges = [ipaddress.ip_network(each) for each in api.node(name).spec.pod_cidrs or ()]
    if not ranges:
        return skipped(f"node {name} has no podCIDRs: the network provider gives addresses")
    seen = []
    for subnet, place, _ in pod_subnets(node):
        ours = ipaddress.ip_network(subnet, strict=False)
        same = [each for each in ranges if each.version == ours.version]
        if same and not any(ours.network_address in each for each in same):
            seen.append(warned(f"{place}: {ours}", f"node {name}: podCIDRs has {same[0]}"))
        elif same:
            seen.append(passed(f"{place}: {ours} is of node {name}'s {same[0]}"))
    return worst(seen, skipped("no subnet of pods is known here"))


def _identity(node: Node) -> Seen:
    api = kubelet_api(node)
    if api is None:
        return _alone(node)
    try:
        name = node_name(api)
    except NoCluster as error:
        return failed(error.message)
    host = node.host.word("/proc/sys/kernel/hostname").lower()
    named = command_line(node.host).get("hostname-override", "").lower()
    if name not in (named or host, host.partition(".")[0]):
        return failed(f"{api.config.path}: it is node {name}", f"the host is {named or host}")
    return passed(f"{api.config.path}: it is node {name}")


CHECKS: Final = (
    Check(
        id="api-server", group=GROUP, title="API server answers", look=_api_server, slow=True,
        network=True, why="the node is not ready, and gets no pods",
        mend="curl -k https://SERVER/readyz?verbose; crictl ps -a --name kube-apiserver",
    ),
    Check(
        id="cluster-identity", group=GROUP, title="Which node the kubelet is", look=_identity,
        why="the API server lets a kubelet act for the node of its certificate alone",
        mend="kubeadm reset, and join again; or hostnamectl hostname NAME",
    ),
    Check(
        id="cluster-node", group=GROUP, title="Node is ready", look=_registered, slow=True,
        network=True, why="a node that is not ready gets no pods, and loses those that it has",
        mend="journalctl -u kubelet -n 50; kubectl describe node NAME",
    ),
    Check(
        id="cluster-clock", group=GROUP, title="Clock against the API server", look=_clock,
        slow=True, network=True,
        why="certificates and tokens are not valid yet or any more, and leases end early",
        mend="chronyc makestep && chronyc tracking",
    ),
    Check(
        id="cluster-version-skew", group=GROUP, title="Versions of kubelet and API server",
        look=_skew, slow=True, network=True,
        why="Kubernetes' releases work together only so far apart",
        mend="cordon and drain the node, and upgrade its kubelet",
    ),
    Check(
        id="cluster-ranges", group=GROUP, title="Ranges of pods and services", look=_ranges,
        slow=True, network=True, why="packets for pods, services or other hosts go astray",
        mend="choose ranges that nobody uses: kubeadm init --pod-network-cidr --service-cidr",
    ),
    Check(
        id="cluster-pod-range", group=GROUP, title="Range of this node's pods", look=_pod_range,
        slow=True, network=True,
        why="other nodes send packets for these pods to the node that has the range",
        mend="write the node's podCIDRs into the CNI network",
    ),
)  # fmt: skip
