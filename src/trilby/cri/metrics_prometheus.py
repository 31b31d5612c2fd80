"""What was counted, as Prometheus reads it.

CRI-O's names where the meaning is the same, so that dashboards go on to work; our own begin with
``container_runtime_trilby_``. Imported only where metrics are served.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from trilby.cri.metrics import Classes, Metrics

CRIO: Final = "container_runtime_crio_"
OURS: Final = "container_runtime_trilby_"


class Inventory(msgspec.Struct, frozen=True):
    """What is counted when somebody asks: pods and containers by state, and zombies."""

    pods: dict[str, int]
    containers: dict[str, int]
    pulls: int
    defunct: int


def render(
    metrics: Metrics, inventory: Inventory, chosen: Sequence[str], accept: str
) -> tuple[bytes, str]:
    """The text and its content type, which ``accept`` (a header) may choose.

    ``chosen`` are names of ours and of CRI-O's, with or without prefix; none is all.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(metrics, inventory, chosen))
    registry.register(_standard())
    encode, content_type = choose_encoder(accept)
    text: bytes = encode(registry)
    return text, content_type


class _Standard(Collector):
    """What every program tells of itself: memory, processor time, descriptors, version."""

    def __init__(self) -> None:
        self._parts = (ProcessCollector(registry=None), PlatformCollector(registry=None))

    def collect(self) -> Iterable[Metric]:
        for part in self._parts:
            yield from part.collect()


_kept: list[_Standard] = []


def _standard() -> _Standard:
    if not _kept:
        _kept.append(_Standard())
    return _kept[0]


class _Families(Collector):
    """The families of one answer."""

    def __init__(self, metrics: Metrics, inventory: Inventory, chosen: Sequence[str]) -> None:
        self._metrics = metrics
        self._inventory = inventory
        self._chosen = frozenset(name.removeprefix(CRIO).removeprefix(OURS) for name in chosen)

    def collect(self) -> Iterable[Metric]:
        for family in self._all():
            name = family.name
            if family.type == "counter":
                name += "_total"
            if not self._chosen or name.removeprefix(CRIO).removeprefix(OURS) in self._chosen:
                yield family

    def _all(self) -> Iterator[Metric]:
        yield from self._operations()
        yield from self._pulls()
        yield from self._containers()
        yield from self._host()

    def _operations(self) -> Iterator[Metric]:
        labels = ["operation"]
        calls = CounterMetricFamily(f"{CRIO}operations", "Calls by RPC.", labels=labels)
        errors = CounterMetricFamily(
            f"{CRIO}operations_errors", "Calls that failed, by RPC.", labels=labels
        )
        last = GaugeMetricFamily(
            f"{CRIO}operations_latency_seconds",
            "Time of the last call that ended, by RPC.",
            labels=labels,
        )
        times = SummaryMetricFamily(
            f"{CRIO}operations_latency_seconds_total", "Time of calls, by RPC.", labels=labels
        )
        classes = HistogramMetricFamily(
            f"{OURS}operation_duration_seconds", "Time of calls, by RPC.", labels=labels
        )
        for name, one in sorted(self._metrics.operations.items()):
            calls.add_metric([name], one.seconds.total)
            errors.add_metric([name], one.errors)
            last.add_metric([name], one.last)
            times.add_metric([name], count_value=one.seconds.total, sum_value=one.seconds.sum)
            classes.add_metric([name], _buckets(one.seconds), one.seconds.sum)
        yield from (calls, errors, last, times, classes)

    def _pulls(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield CounterMetricFamily(
            f"{CRIO}image_pulls_success", "Pulls that succeeded.", value=metrics.pulls_ok
        )
        yield _counters(
            f"{CRIO}image_pulls_failure",
            "Pulls that failed, by cause.",
            "error",
            metrics.pulls_failed,
        )
        yield _counters(
            f"{CRIO}image_pulls_bytes",
            "Bytes fetched, by the size of their blobs.",
            "size",
            metrics.pulled_bytes,
        )
        yield _counters(
            f"{CRIO}image_pulls_skipped_bytes",
            "Bytes that were there already, by their sum of an image.",
            "size",
            metrics.skipped_bytes,
        )
        sizes = HistogramMetricFamily(
            f"{CRIO}image_pulls_layer_size", "Sizes of blobs that were fetched, in bytes."
        )
        sizes.add_metric([], _buckets(metrics.layer_sizes), metrics.layer_sizes.sum)
        yield sizes
        yield CounterMetricFamily(
            f"{OURS}image_layers_reused",
            "Layers that were there already.",
            value=metrics.layers_reused,
        )
        yield GaugeMetricFamily(
            f"{OURS}image_pulls_running", "Pulls under way.", value=self._inventory.pulls
        )

    def _containers(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield CounterMetricFamily(
            f"{CRIO}containers_events_dropped",
            "Events of containers that a slow reader lost.",
            value=metrics.events_dropped,
        )
        yield CounterMetricFamily(
            f"{CRIO}containers_oom", "Containers killed for memory.", value=metrics.oom_total
        )
        yield _counters(
            f"{CRIO}containers_oom_count",
            "How often a container was killed for memory, by its name.",
            "name",
            metrics.oom_by_name,
        )
        # A counter by its meaning; the name that CRI-O gave it does not end as counters' do.
        stalled = Metric(
            f"{CRIO}resources_stalled_at_stage",
            "Requests that waited for an earlier one of the same name, by its stage.",
            "unknown",
        )
        for stage, count in sorted(metrics.stalled_at.items()):
            stalled.add_sample(stalled.name, {"stage": stage}, count)
        yield stalled
        for what, counts in (
            ("pods", self._inventory.pods),
            ("containers", self._inventory.containers),
        ):
            family = GaugeMetricFamily(
                f"{OURS}{what}", f"{what.title()} by state.", labels=["state"]
            )
            for state, count in sorted(counts.items()):
                family.add_metric([state.lower()], count)
            yield family

    def _host(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            f"{CRIO}processes_defunct",
            "Processes of the host that have ended and that nobody waited for.",
            value=self._inventory.defunct,
        )
        runtime = GaugeMetricFamily(
            f"{CRIO}default_runtime",
            "The runtime handler of pods that name none; always 1.",
            labels=["runtime"],
        )
        if self._metrics.default_runtime:
            runtime.add_metric([self._metrics.default_runtime], 1)
        yield runtime


def _counters(
    name: str, help: str, label: str, counts: Counter[str] | dict[str, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _buckets(classes: Classes) -> list[tuple[str, float]]:
    """Prometheus counts cumulatively."""
    found, so_far = [], 0
    for bound, count in zip((*classes.bounds, float("inf")), classes.counts, strict=True):
        so_far += count
        name = "+Inf" if bound == float("inf") else repr(float(bound))
        found.append((name, float(so_far)))
    return found


def count_defunct() -> int:
    """Zombies on the host. Blocking: some microseconds for each process."""
    found = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # After the program's name, which is in parentheses and may have any of them.
                found += file.read().rpartition(b")")[2].lstrip().startswith(b"Z")
        except OSError:
            continue
    return found
