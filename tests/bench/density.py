"""A full node: 110 pods of a Deployment, from a real API server, by a real kubelet.

Each runtime gets a fresh host with a cluster of its own, one after the other.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from tests.bench import density_fill, report, usage
from tests.bench.place import Place
from tests.support.cri_side import OURS
from tests.support.kubernetes_cluster import Cluster, Runtime, running_cluster
from tests.support.kubernetes_node import BUSYBOX, Pod, wait_for

#: Kubernetes' limit of a node.
PODS = 110
#: Pods that are started alone, on the empty node and on the full one.
ALONE = 8
#: What a person waits for the last pod, against the first.
GOAL = 1.2
REST = 20.0
#: The kubelet's own defaults, where tests are in a hurry.
USUAL = {
    "syncFrequency": "1m",
    "fileCheckFrequency": "20s",
    "containerLogMonitorInterval": "10s",
}
RATIO = "last alone against first, times"
STEPS = {"run_podsandbox": "sandbox", "create_container": "create", "start_container": "start"}
METHOD = """\
A fresh host for each runtime: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet
and the runtime, all at once on this machine's processors; pods of busybox, class BestEffort, image
there already. All Running: from the Deployment to its last pod, of {pods}. Pod's latency: from the
kubelet's first sight of a pod to its being seen running, which it looks for once a second. Alone: a
pod that starts when no other does, before and after the node is full; the runtime's share of it, as
the kubelet measures it (sandbox, create and start), medians of {alone}, because now and then a step
waits for the kernel's grace periods. At rest: {rest:.0f} seconds of the full node, with what the
kubelet asks."""


class Settings(msgspec.Struct, frozen=True):
    """What can be chosen on the command line."""

    others: tuple[Runtime, ...] = ()
    pods: int = PODS


def parse_runtime(text: str) -> Runtime:
    """``NAME=SOCKET=COMMAND``. Raises ValueError."""
    name, socket, command = text.split("=", 2)
    return Runtime(name, socket, command)


def measure(place: Place, rounds: int, settings: Settings) -> list[report.Section]:
    """Every runtime in each round."""
    text = METHOD.format(pods=settings.pods, alone=ALONE, rest=REST)
    section = report.Section(title=f"Density: {settings.pods} pods", method=text)
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for other in (None, *settings.others):
            name = other.name if other else OURS
            found.setdefault(name, []).append(_one(place.directory / "density", other, settings))
            print(f"  {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    ours = found[OURS]
    for key in ours[0]:
        for name, those in found.items():
            section.lines.append(_line(key, name, [one[key] for one in those],
                                       [one[key] for one in ours] if name != OURS else []))  # fmt: skip
    return [section, density_fill.measure(place, settings.pods, GOAL)]


def _line(key: str, name: str, values: list[float], ours: list[float]) -> report.Line:
    what, _, unit = key.partition(", ")
    value = statistics.median(values)
    return report.Line(
        name=f"{what}: {name}",
        unit=unit,
        value=value,
        values=tuple(values),
        against=name if ours else "",
        ratio=statistics.median(ours) / value if ours and value else None,
        goal=None if ours or key != RATIO else GOAL,
    )


def _one(folder: Path, other: Runtime | None, settings: Settings) -> dict[str, float]:
    """Figures by what they are, and their units."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"density-{os.urandom(2).hex()}"
    logs = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    with running_cluster(
        logs, name, other=other, log_level="info", maxPods=settings.pods, **USUAL
    ) as cluster:
        empty = _alone(cluster, "empty")
        begin = time.monotonic()
        cluster.apply(_deployment(settings.pods - 1))
        _wait(cluster, "deployment/full", settings.pods - 1)
        everyone = time.monotonic() - begin
        latencies = sorted(_latencies(cluster.kubelet.log()))
        full = _alone(cluster, "full")
        cluster.apply(_pod("last"))
        _running(cluster, "last")
        figures = {
            "all Running, s": everyone,
            "pod's latency p50, s": usage.percentile(latencies, 0.5),
            "pod's latency p99, s": usage.percentile(latencies, 0.99),
            "first alone, ms": sum(empty.values()),
            "last alone, ms": sum(full.values()),
            RATIO: sum(full.values()) / sum(empty.values()),
            **{f"{step} on the empty node, ms": took for step, took in empty.items()},
            **{f"{step} on the full node, ms": took for step, took in full.items()},
            **_at_rest(cluster),
        }
    shutil.rmtree(logs)
    return figures


@contextmanager
def _measured(cluster: Cluster, found: dict[str, float]) -> Iterator[None]:
    """Milliseconds of each step, as the mean of those that ended meanwhile: of one pod's, one."""
    before = _operations(cluster)
    yield
    after = _operations(cluster)
    for step, name in STEPS.items():
        count = after[step][1] - before.get(step, (0.0, 0.0))[1]
        found[name] = (after[step][0] - before.get(step, (0.0, 0.0))[0]) / count * 1000


def _alone(cluster: Cluster, name: str) -> dict[str, float]:
    """Pods one after the other, medians of each step; the first one is no part of it."""
    _life(cluster, f"{name}-warm")
    lives: list[dict[str, float]] = []
    for number in range(ALONE):
        found: dict[str, float] = {}
        with _measured(cluster, found):
            _life(cluster, f"{name}-{number}")
        lives.append(found)
    return {step: statistics.median(life[step] for life in lives) for step in STEPS.values()}


def _life(cluster: Cluster, name: str) -> None:
    cluster.apply(_pod(name))
    _running(cluster, name)
    cluster.kubectl("delete", "pod", name, "--now", "--wait=true", "--timeout=120s")


def _running(cluster: Cluster, name: str) -> None:
    cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=50s")


def _wait(cluster: Cluster, what: str, count: int) -> None:
    """The same for a Deployment, as long as it takes; kubectl is asked rarely, for it costs CPU."""

    def ready() -> bool:
        form = "jsonpath={.status.readyReplicas}"
        return cluster.kubectl("get", what, "-o", form) == str(count).encode()

    def look() -> bool:
        time.sleep(0.5)
        return ready()

    wait_for(look, f"{count} pods", cluster.logs, timeout=900)


def _pod(name: str) -> Pod:
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": _spec(),
    }  # fmt: skip


def _deployment(count: int) -> Pod:
    labels = {"app": "full"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "full"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _spec()},
        },
    }


def _spec() -> Pod:
    container = {
        "name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "100000"]
    }  # fmt: skip
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }


_OPERATION = re.compile(
    r"^kubelet_runtime_operations_duration_seconds_(sum|count)"
    r'\{operation_type="(\w+)"\} (\S+)$',
    re.MULTILINE,
)


def _operations(cluster: Cluster) -> dict[str, tuple[float, float]]:
    """Operation -> seconds of all, and how many; by the kubelet's metrics."""
    sums: dict[str, dict[str, float]] = {}
    for kind, name, value in _OPERATION.findall(cluster.get("metrics").decode()):
        sums.setdefault(name, {})[kind] = float(value)
    return {name: (both["sum"], both["count"]) for name, both in sums.items()}


_ADDED = re.compile(r'^I(\d{4} [\d:.]+) .*"SyncLoop ADD" source="api" pods=\[(.*)\]', re.MULTILINE)
_SEEN = re.compile(
    r'"Observed pod startup duration" pod="([^"]+)".* observedRunningTime="[-\d]+ ([\d:.]+) '
)


def _latencies(log: str) -> list[float]:
    """Seconds of each pod of the Deployment, of the kubelet's log."""
    added = {
        name.strip('"'): _clock(stamp.split()[1])
        for stamp, names in _ADDED.findall(log)
        for name in re.findall(r'"[^"]+"', names)
    }
    seen = {name: _clock(stamp) for name, stamp in _SEEN.findall(log)}
    return [
        (seen[name] - begin) % 86400
        for name, begin in added.items()
        if name in seen and name.startswith("default/full-")
    ]


def _clock(text: str) -> float:
    """Seconds of the day, of a log in UTC."""
    found = datetime.strptime(text[:15], "%H:%M:%S.%f")
    return found.hour * 3600 + found.minute * 60 + found.second + found.microsecond / 1e6


def _at_rest(cluster: Cluster) -> dict[str, float]:
    """Memory and CPU of the daemon, and of what it has beside it."""
    pid = cluster.runtime.pid
    time.sleep(5)
    others = [*usage.helpers(pid), *usage.monitors_below(cluster.host.pid)]
    daemon, monitors = usage.memory([pid]), usage.memory(others)
    before, before_others = usage.cpu_time(pid), sum(map(usage.cpu_time, others))
    begin = time.monotonic()
    time.sleep(REST)
    length = time.monotonic() - begin
    return {
        "memory of the daemon (PSS), MiB": daemon.pss,
        "memory of monitors (PSS), MiB": monitors.pss,
        "CPU of the daemon at rest, %": (usage.cpu_time(pid) - before) / length * 100,
        "CPU of monitors at rest, %":
            (sum(map(usage.cpu_time, others)) - before_others) / length * 100,
    }  # fmt: skip
