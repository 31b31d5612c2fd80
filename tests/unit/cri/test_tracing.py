"""Traces: whose they are, which are recorded, and how they reach a collector."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as theirs
from opentelemetry.proto.trace.v1 import trace_pb2
from tests.support.otlp import attributes, collector

from trilby.cri import tracing_export
from trilby.cri.proto import otlp_pb2 as ours
from trilby.cri.tracing import Tracer
from trilby.cri.tracing_context import caller, new_trace, parse_traceparent, within
from trilby.cri.tracing_export import Exporter
from trilby.pods.trace import Traces, part

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.integers(0, 255))
def test_a_parent(trace: bytes, span: bytes, flags: int) -> None:
    found = parse_traceparent(f"00-{trace.hex()}-{span.hex()}-{flags:02x}", "a=b")
    if not any(trace) or not any(span):
        assert found is None
        return
    assert found is not None
    assert (found.trace_id, found.span_id, found.state) == (trace, span, "a=b")
    assert found.sampled == bool(flags & 1)
    child = found.child()
    assert (child.trace_id, child.state, child.sampled) == (trace, "a=b", found.sampled)
    assert child.span_id != span and len(child.span_id) == 8


@given(st.text(max_size=80))
def test_any_text_is_a_parent_or_none(text: str) -> None:
    parse_traceparent(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f" 00-{TRACE}-{SPAN}-01 ", True),
        (f"01-{TRACE}-{SPAN}-01-more", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        ("", False),
    ],
)
def test_what_the_specification_says(text: str, good: bool) -> None:
    assert (parse_traceparent(text) is not None) == good


def test_a_caller() -> None:
    parent = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    found = caller([parent, ("tracestate", "a=1"), ("tracestate", b"b=2"), ("other", "x")])
    assert found is not None and found.state == "a=1,b=2" and found.sampled
    assert caller([]) is None and caller([parent, parent]) is None
    long = caller([parent, ("tracestate", "x" * 600)])
    assert long is not None and long.state == ""


@given(st.binary(min_size=16, max_size=16))
def test_which_traces_are_recorded(trace: bytes) -> None:
    assert within(trace, 1_000_000) and not within(trace, 0)
    assert not within(trace, 500_000) or within(trace, 500_001)


def test_a_share_of_traces_is_recorded() -> None:
    recorded = sum(within(new_trace().trace_id, 250_000) for _ in range(4000))
    assert 800 < recorded < 1200


def test_our_messages_are_theirs() -> None:
    request = ours.ExportTraceServiceRequest(
        resource_spans=[
            ours.ResourceSpans(
                resource=ours.Resource(attributes=[tracing_export.attribute("a", "b")]),
                scope_spans=[
                    ours.ScopeSpans(
                        scope=ours.InstrumentationScope(name="n", version="v"),
                        spans=[
                            ours.Span(
                                trace_id=b"t" * 16,
                                span_id=b"s" * 8,
                                trace_state="x=y",
                                parent_span_id=b"p" * 8,
                                name="name",
                                kind=ours.SPAN_KIND_SERVER,
                                start_time_unix_nano=1,
                                end_time_unix_nano=2,
                                attributes=[tracing_export.attribute("c", 3)],
                                status=ours.Status(message="m", code=ours.STATUS_CODE_ERROR),
                                flags=1,
                            )
                        ],
                    )
                ],
                schema_url="u",
            )
        ]
    )
    read = theirs.ExportTraceServiceRequest.FromString(request.SerializeToString())
    (spans,) = read.resource_spans[0].scope_spans
    (span,) = spans.spans
    assert read.resource_spans[0].schema_url == "u"
    assert read.resource_spans[0].resource.attributes[0].value.string_value == "b"
    assert (spans.scope.name, spans.scope.version) == ("n", "v")
    assert (span.trace_id, span.span_id, span.parent_span_id) == (b"t" * 16, b"s" * 8, b"p" * 8)
    assert (span.trace_state, span.name, span.flags) == ("x=y", "name", 1)
    assert span.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1, 2)
    assert attributes(span) == {"c": 3}
    assert (span.status.code, span.status.message) == (trace_pb2.Status.STATUS_CODE_ERROR, "m")
    # And back: nothing that we sent is dropped by who hands it on.
    again = ours.ExportTraceServiceRequest.FromString(read.SerializeToString())
    assert again == request
    answer = theirs.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 7
    answer.partial_success.error_message = "why"
    partial = ours.ExportTraceServiceResponse.FromString(answer.SerializeToString())
    assert partial.partial_success.rejected_spans == 7
    assert partial.partial_success.error_message == "why"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing_export, "GATHER", 0.01)
    monkeypatch.setattr(tracing_export, "FIRST_PAUSE", 0.02)


async def test_a_call_with_stages() -> None:
    traces = Traces()
    async with collector() as (found, port):
        exporter = Exporter(f"127.0.0.1:{port}")
        exporter.start()
        tracer = Tracer(exporter, 0)
        traces.listener = tracer.stage
        metadata = (("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=b"))
        with tracer.rpc("RunPodSandbox", metadata) as span:
            assert span is not None
            with traces.stage("p" * 64, "run_sandbox"):
                with traces.stage("p" * 64, "run_sandbox", "network"):
                    await asyncio.sleep(0.001)
                with part("cgroup"):
                    await asyncio.to_thread(part_in_thread)
            with pytest.raises(ValueError, match="broken"):
                with traces.stage("p" * 64, "create_container", subject="main"):
                    raise ValueError("broken")
            span.fail(grpc.StatusCode.NOT_FOUND, "there is none")
        # Outside of a call nothing is recorded.
        with traces.stage("p" * 64, "stop_sandbox"):
            pass
        await tracer.close()
    names = {span.name for span in found.spans}
    assert names == {
        "runtime.v1.RuntimeService/RunPodSandbox",
        "run_sandbox",
        "run_sandbox: network",
        "run_sandbox: cgroup",
        "run_sandbox: in a thread",
        "create_container",
    }
    call = found.named("runtime.v1.RuntimeService/RunPodSandbox")
    assert {span.trace_id.hex() for span in found.spans} == {TRACE}
    assert {span.trace_state for span in found.spans} == {"a=b"}
    assert call.parent_span_id.hex() == SPAN and call.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert attributes(call) == {
        "rpc.system": "grpc",
        "rpc.service": "runtime.v1.RuntimeService",
        "rpc.method": "RunPodSandbox",
        "rpc.grpc.status_code": 5,
    }
    assert (call.status.code, call.status.message) == (2, "there is none")
    whole = found.named("run_sandbox")
    assert whole.parent_span_id == call.span_id and whole.status.code == 0
    assert attributes(whole) == {"trilby.sandbox.id": "p" * 64}
    for name in ("network", "cgroup", "in a thread"):
        one = found.named(f"run_sandbox: {name}")
        assert one.parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= one.start_time_unix_nano
        assert one.start_time_unix_nano < one.end_time_unix_nano <= whole.end_time_unix_nano
    failed = found.named("create_container")
    assert failed.parent_span_id == call.span_id
    assert (failed.status.code, failed.status.message) == (2, "broken")
    assert attributes(failed)["k8s.container.name"] == "main"
    assert len({span.span_id for span in found.spans}) == len(found.spans)
    assert found.resources[0]["service.name"] == "trilby"
    assert found.resources[0]["host.name"] == socket.gethostname()


def part_in_thread() -> None:
    import time

    with part("in a thread"):
        time.sleep(0.001)


async def test_what_is_not_recorded() -> None:
    async with collector() as (found, port):
        exporter = Exporter(f"127.0.0.1:{port}")
        exporter.start()
        tracer = Tracer(exporter, 0)
        with tracer.rpc("Version", ()) as span:
            assert span is None
        with tracer.rpc("Version", (("traceparent", f"00-{TRACE}-{SPAN}-00"),)) as span:
            assert span is None
        tracer.per_million = 1_000_000
        with tracer.rpc("PullImage", ()) as span:
            assert span is not None
        await tracer.close()
    assert [span.name for span in found.spans] == ["runtime.v1.ImageService/PullImage"]
    assert found.spans[0].parent_span_id == b"" and len(found.spans[0].trace_id) == 16


async def test_a_collector_that_is_not_there_yet() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    exporter = Exporter(f"127.0.0.1:{port}")
    exporter.start()
    tracer = Tracer(exporter, 1_000_000)
    with tracer.rpc("Version", ()):
        pass
    await asyncio.sleep(0.1)
    async with collector(port) as (found, _):
        await found.wait(1)
        await tracer.close()


async def test_refusals() -> None:
    async with collector() as (found, port):
        exporter = Exporter(f"127.0.0.1:{port}")
        exporter.start()
        tracer = Tracer(exporter, 1_000_000)
        found.refuse = grpc.StatusCode.UNAVAILABLE
        with tracer.rpc("Version", ()):
            pass
        await found.wait(calls=3)
        assert not found.spans
        found.refuse = None
        await found.wait(1)
        # What the collector does not want at all is not tried again.
        found.refuse = grpc.StatusCode.INVALID_ARGUMENT
        with tracer.rpc("Status", ()):
            pass
        await found.wait(calls=found.calls + 1)
        found.refuse = None
        with tracer.rpc("PullImage", ()):
            pass
        await found.wait(2)
        await tracer.close()
    methods = [attributes(span)["rpc.method"] for span in found.spans]
    assert methods == ["Version", "PullImage"]


async def test_the_queue_is_bounded_and_the_end_is_not_waited_for() -> None:
    async with collector() as (found, port):
        exporter = Exporter(f"127.0.0.1:{port}")
        for number in range(tracing_export.QUEUE + 10):
            exporter.put(ours.Span(name=str(number)))
        exporter.start()
        await found.wait(tracing_export.QUEUE)
        await exporter.close()
    assert len(found.spans) == tracing_export.QUEUE and found.spans[0].name == "10"
    assert found.calls == tracing_export.QUEUE // tracing_export.BATCH
    # Nobody there: closing takes no longer for it.
    async with asyncio.timeout(tracing_export.LAST_DEADLINE + 2):
        lost = Exporter("127.0.0.1:1")
        lost.start()
        lost.put(ours.Span(name="x"))
        await asyncio.sleep(0.1)
        await lost.close()


def test_nothing_is_imported_of_what_fedora_does_not_have() -> None:
    code = (
        "import sys\nimport trilby.cri.tracing\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
