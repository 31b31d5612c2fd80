"""What can be seen of a whole daemon: statistics, metrics and traces of the same calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

import aiohttp
import grpc
import grpc.aio
import msgspec
import pytest
from google.protobuf.message import Message
from prometheus_client.parser import text_string_to_metric_families
from tests.support.otlp import Collector, attributes, collector
from tests.support.pods import Place, make_config, store_rootfs

from trilby.cri import tracing_export
from trilby.cri.config import DaemonConfig
from trilby.cri.daemon import Daemon
from trilby.cri.metrics_prometheus import CRIO, OURS
from trilby.cri.proto import container_pb2, runtime_pb2, sandbox_pb2, stats_pb2

T = TypeVar("T", bound=Message)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Fixed:
    """A configuration without files."""

    def __init__(self, config: DaemonConfig) -> None:
        self._config = config

    def current(self) -> DaemonConfig:
        return self._config

    def describe(self) -> object:
        return []

    async def reload(self, daemon: Daemon) -> object:
        raise NotImplementedError


@pytest.fixture
async def traces() -> AsyncIterator[tuple[Collector, int]]:
    async with collector() as found:
        yield found


@pytest.fixture
async def daemon(
    place: Place,
    nothing_left_behind: None,
    traces: tuple[Collector, int],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Daemon]:
    monkeypatch.setattr(tracing_export, "GATHER", 0.01)
    store_rootfs(place).store.close()  # with an image
    config = DaemonConfig(
        engine=make_config(place),
        root=str(place.root / "s"),
        runroot=str(place.root / "rs"),
        storage_driver="overlay",
        listen=str(place.root / "cri.sock"),
        log_dir=str(place.root / "logs"),
        nri_listen=str(place.root / "nri.sock"),
        enable_metrics=True,
        metrics_port=0,
        included_pod_metrics=("all",),
        enable_tracing=True,
        tracing_endpoint=f"127.0.0.1:{traces[1]}",
    )
    async with Daemon(Fixed(config)) as daemon:
        yield daemon
        for sandbox in daemon.engine.list_sandboxes():
            await daemon.engine.remove_sandbox(sandbox.id)


async def call(daemon: Daemon, name: str, request: Message, answer: type[T]) -> T:
    """One call to the runtime service, in the trace."""
    async with grpc.aio.insecure_channel(f"unix:{daemon.config.listen}") as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[Message, T] = channel.unary_unary(
            f"/runtime.v1.RuntimeService/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
        return await method(request, metadata=metadata, timeout=60)


async def run_pod(daemon: Daemon) -> tuple[str, str]:
    """By gRPC, as a kubelet does."""
    config = sandbox_pb2.PodSandboxConfig(
        metadata=sandbox_pb2.PodSandboxMetadata(name="web", uid="u", namespace="default"),
        labels={"app": "web"},
    )
    sandbox = await call(
        daemon,
        "RunPodSandbox",
        sandbox_pb2.RunPodSandboxRequest(config=config),
        sandbox_pb2.RunPodSandboxResponse,
    )
    request = runtime_pb2.CreateContainerRequest(
        pod_sandbox_id=sandbox.pod_sandbox_id, sandbox_config=config
    )
    request.config.metadata.name = "main"
    request.config.image.image = "docker.io/library/busybox:latest"
    request.config.command.extend(("sleep", "1000"))
    container = await call(
        daemon, "CreateContainer", request, container_pb2.CreateContainerResponse
    )
    start = container_pb2.StartContainerRequest(container_id=container.container_id)
    await call(daemon, "StartContainer", start, container_pb2.StartContainerResponse)
    return sandbox.pod_sandbox_id, container.container_id


async def scrape(daemon: Daemon) -> dict[str, float]:
    """``name{label values}`` to value."""
    assert daemon.metrics_server is not None
    url = f"http://127.0.0.1:{daemon.metrics_server.port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        families = list(text_string_to_metric_families(await response.text()))
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in families
        for sample in family.samples
    }


async def test_a_pod_is_seen_everywhere(daemon: Daemon, traces: tuple[Collector, int]) -> None:
    sandbox, container = await run_pod(daemon)

    stats = await call(
        daemon,
        "ListPodSandboxStats",
        stats_pb2.ListPodSandboxStatsRequest(),
        stats_pb2.ListPodSandboxStatsResponse,
    )
    (one,) = stats.stats
    assert one.attributes.id == sandbox and one.attributes.labels["app"] == "web"
    assert [each.attributes.id for each in one.linux.containers] == [container]
    assert one.linux.containers[0].writable_layer.used_bytes.value >= 0
    assert one.linux.network.default_interface.name == "eth0"
    metrics = await call(
        daemon,
        "ListPodSandboxMetrics",
        stats_pb2.ListPodSandboxMetricsRequest(),
        stats_pb2.ListPodSandboxMetricsResponse,
    )
    names = {each.name for each in metrics.pod_metrics[0].container_metrics[0].metrics}
    assert {"container_memory_working_set_bytes", "container_fs_usage_bytes"} <= names
    unknown = container_pb2.ContainerStatusRequest(container_id="unknown")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(daemon, "ContainerStatus", unknown, container_pb2.ContainerStatusResponse)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND

    found = await scrape(daemon)
    for name in ("RunPodSandbox", "CreateContainer", "StartContainer", "ListPodSandboxStats"):
        assert found[f"{CRIO}operations_total{{{name}}}"] == 1
        assert found[f"{CRIO}operations_errors_total{{{name}}}"] == 0
        assert 0 < found[f"{CRIO}operations_latency_seconds{{{name}}}"] < 60
    assert found[f"{CRIO}operations_errors_total{{ContainerStatus}}"] == 1
    assert found[f"{CRIO}default_runtime{{runc}}"] == 1
    assert found[f"{OURS}pods{{ready}}"] == found[f"{OURS}containers{{running}}"] == 1

    server, _ = traces
    await server.wait(calls=1)
    while "runtime.v1.RuntimeService/ContainerStatus" not in {one.name for one in server.spans}:
        await server.wait(len(server.spans) + 1)
    assert {span.trace_id.hex() for span in server.spans} == {TRACE}
    started = server.named("runtime.v1.RuntimeService/RunPodSandbox")
    assert started.parent_span_id.hex() == PARENT
    whole = server.named("run_sandbox")
    assert whole.parent_span_id == started.span_id
    assert attributes(whole)["trilby.sandbox.id"] == sandbox
    parts = [span for span in server.spans if span.parent_span_id == whole.span_id]
    assert parts and all(span.name.startswith("run_sandbox: ") for span in parts)
    created = server.named("create_container")
    assert attributes(created)["k8s.container.name"] == "main"
    call_span = server.named("runtime.v1.RuntimeService/CreateContainer")
    assert created.parent_span_id == call_span.span_id
    missed = server.named("runtime.v1.RuntimeService/ContainerStatus")
    assert attributes(missed)["rpc.grpc.status_code"] == 5
    assert "unknown" in missed.status.message


async def test_what_changes_while_it_runs(daemon: Daemon) -> None:
    await run_pod(daemon)
    descriptors = stats_pb2.ListMetricDescriptorsRequest()
    answer = stats_pb2.ListMetricDescriptorsResponse
    before = await call(daemon, "ListMetricDescriptors", descriptors, answer)
    daemon.apply(
        msgspec.structs.replace(
            daemon.config, included_pod_metrics=("oom",), metrics_collectors=("pods",)
        )
    )
    after = await call(daemon, "ListMetricDescriptors", descriptors, answer)
    assert len(before.descriptors) > 50
    assert [one.name for one in after.descriptors] == [
        "container_last_seen",
        "container_oom_events_total",
    ]
    ours = {name for name in await scrape(daemon) if name.startswith("container_runtime")}
    assert ours == {f"{OURS}pods{{ready}}"}
