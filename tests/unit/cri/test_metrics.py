"""The daemon's own metrics: what is counted, and what Prometheus reads."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.support.pods import DirectoryRootfs

from trilby.cri.config import DaemonConfig
from trilby.cri.errors import InvalidRequest, NotServing
from trilby.cri.metrics import MOST_NAMES, SIZES, Classes, Metrics, failure, size_name
from trilby.cri.metrics_prometheus import CRIO, OURS, Inventory, count_defunct, render
from trilby.cri.metrics_server import MetricsServer, start_metrics_server
from trilby.errors import TrilbyError
from trilby.image.errors import ImageNotFound, PolicyRefused, RegistryUnavailable
from trilby.pods.config import EngineConfig
from trilby.pods.engine import Engine
from trilby.pods.errors import PodBusy

NOTHING = Inventory({}, {}, 0, 0)


def read(metrics: Metrics, *chosen: str, inventory: Inventory = NOTHING) -> dict[str, float]:
    """What Prometheus' own reader makes of it: ``name{label}`` to value."""
    text, content_type = render(metrics, inventory, chosen, "")
    assert content_type.startswith("text/plain; version=")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(sorted(sample.labels.values()))
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found
            found[name] = sample.value
    return found


def test_calls() -> None:
    metrics = Metrics(DaemonConfig())
    metrics.observe_rpc("Version", 0.002, error=False)
    metrics.observe_rpc("Version", 0.004, error=True)
    metrics.observe_rpc("PullImage", 100, error=False)
    found = read(metrics)
    assert found[f"{CRIO}operations_total{{Version}}"] == 2
    assert found[f"{CRIO}operations_errors_total{{Version}}"] == 1
    assert found[f"{CRIO}operations_errors_total{{PullImage}}"] == 0
    assert found[f"{CRIO}operations_latency_seconds{{Version}}"] == 0.004
    assert found[f"{CRIO}operations_latency_seconds_total_sum{{Version}}"] == pytest.approx(0.006)
    assert found[f"{CRIO}operations_latency_seconds_total_count{{Version}}"] == 2
    bucket = f"{OURS}operation_duration_seconds_bucket"
    assert found[f"{bucket}{{0.0025,Version}}"] == 1
    assert found[f"{bucket}{{0.005,Version}}"] == found[f"{bucket}{{+Inf,Version}}"] == 2
    assert found[f"{bucket}{{60.0,PullImage}}"] == 0
    assert found[f"{bucket}{{+Inf,PullImage}}"] == 1
    # Every program's own
    assert found["process_resident_memory_bytes"] > 1 << 20


def test_pulls_and_the_rest() -> None:
    config = DaemonConfig(engine=EngineConfig(default_runtime="runc"))
    metrics = Metrics(config)
    metrics.pull_done("a", 5000, skipped=2000)
    metrics.pull_done("b", 5000, skipped=0)
    metrics.pull_failed("c", RegistryUnavailable("x"))
    metrics.layer_done(2_000_000, reused=False)
    metrics.layer_done(9, reused=True)
    metrics.event_dropped()
    metrics.container_oom("k8s_a")
    metrics.container_oom("k8s_a")
    metrics.stalled("network")
    inventory = Inventory({"READY": 2}, {"RUNNING": 3, "EXITED": 1}, 4, 5)
    found = read(metrics, inventory=inventory)
    assert found[f"{CRIO}image_pulls_success_total"] == 2
    assert found[f"{CRIO}image_pulls_failure_total{{UNAVAILABLE}}"] == 1
    assert found[f"{CRIO}image_pulls_skipped_bytes_total{{>1 KiB}}"] == 2000
    assert found[f"{CRIO}image_pulls_bytes_total{{>1 MiB}}"] == 2_000_000
    assert found[f"{CRIO}image_pulls_layer_size_bucket{{1000000.0}}"] == 0
    assert found[f"{CRIO}image_pulls_layer_size_bucket{{10000000.0}}"] == 1
    assert found[f"{CRIO}image_pulls_layer_size_sum"] == 2_000_000
    assert found[f"{OURS}image_layers_reused_total"] == 1
    assert found[f"{CRIO}containers_events_dropped_total"] == 1
    assert found[f"{CRIO}containers_oom_total"] == 2
    assert found[f"{CRIO}containers_oom_count_total{{k8s_a}}"] == 2
    assert found[f"{CRIO}resources_stalled_at_stage{{network}}"] == 1
    assert found[f"{CRIO}default_runtime{{runc}}"] == 1
    assert found[f"{CRIO}processes_defunct"] == 5
    assert found[f"{OURS}pods{{ready}}"] == 2
    assert found[f"{OURS}containers{{running}}"] == 3
    assert found[f"{OURS}image_pulls_running"] == 4
    metrics.container_removed("k8s_a")
    assert f"{CRIO}containers_oom_count_total{{k8s_a}}" not in read(metrics)


def test_the_document_has_every_metric_and_its_label() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "OBSERVING.md").read_text()
    documented = {
        name: label.strip("` ")
        for name, label in re.findall(r"^\| `(container_runtime_\w+)` \|([^|]*)\|", page, re.M)
    }
    metrics = Metrics(DaemonConfig(engine=EngineConfig(default_runtime="runc")))
    metrics.observe_rpc("Version", 1, error=False)
    metrics.pull_failed("x", ValueError())
    metrics.pull_done("x", 9, skipped=9)
    metrics.layer_done(9, reused=False)
    metrics.container_oom("x")
    metrics.stalled("x")
    text, _ = render(metrics, Inventory({"READY": 1}, {"RUNNING": 1}, 0, 0), (), "")
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        if name.startswith("container_runtime_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = ",".join(labels)
    assert found == documented


def test_chosen_metrics() -> None:
    metrics = Metrics(DaemonConfig())
    metrics.event_dropped()
    found = read(metrics, "containers_events_dropped_total", f"{CRIO}containers_oom_total", "pods")
    ours = {name for name in found if name.startswith("container_")}
    assert ours == {f"{CRIO}containers_events_dropped_total", f"{CRIO}containers_oom_total"}
    assert "process_resident_memory_bytes" in found


def test_names_of_killed_containers_are_bounded() -> None:
    metrics = Metrics(DaemonConfig())
    for number in range(MOST_NAMES + 5):
        metrics.container_oom(str(number))
    assert len(metrics.oom_by_name) == MOST_NAMES and "4" not in metrics.oom_by_name
    assert metrics.oom_total == MOST_NAMES + 5


@given(st.lists(st.integers(0, 2 * 10**10)))
def test_classes_count_every_value_once(values: list[int]) -> None:
    classes = Classes(SIZES)
    for value in values:
        classes.add(value)
        assert size_name(value).startswith(">")
    assert classes.total == len(values) and classes.sum == sum(values)
    for bound, count in zip(SIZES, classes.counts, strict=False):
        below = [value for value in values if value <= bound]
        above = max((lower for lower in SIZES if lower < bound), default=-1)
        assert count == len([value for value in below if value > above])


def test_why_a_pull_failed() -> None:
    def caused(error: BaseException, cause: BaseException) -> BaseException:
        error.__cause__ = cause
        return error

    assert failure(ImageNotFound("x")) == "NOT_FOUND"
    assert failure(PolicyRefused("x")) == "DENIED"
    assert failure(RegistryUnavailable("x")) == "UNAVAILABLE"
    refused = caused(RegistryUnavailable("x"), ConnectionRefusedError(111, "refused"))
    assert failure(refused) == "CONNECTION_REFUSED"
    assert failure(caused(TrilbyError("x"), TimeoutError())) == "CONNECTION_TIMEOUT"
    assert failure(ValueError("x")) == "UNKNOWN"


def test_zombies_are_counted() -> None:
    before = count_defunct()
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        # Others of the host come and go meanwhile.
        assert count_defunct() >= max(before - 5, 1)
    finally:
        child.wait()


# The server


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    config = EngineConfig(root=str(tmp_path / "s"), run_root=str(tmp_path / "r"))
    engine = Engine(config, DirectoryRootfs(tmp_path / "rootfs"))
    await engine.start(recover=False)
    yield engine
    await engine.close()


@asynccontextmanager
async def serving(
    engine: Engine, *, metrics: Metrics | None = None, **changes: str | int
) -> AsyncIterator[tuple[MetricsServer, aiohttp.ClientSession]]:
    options: dict[str, str | int] = {"metrics_port": 0, **changes}
    config = DaemonConfig(enable_metrics=True, engine=engine.config, **options)  # type: ignore[arg-type]
    server = await start_metrics_server(config, metrics or Metrics(config), engine)
    try:
        async with aiohttp.ClientSession() as session:
            yield server, session
    finally:
        await server.close()


async def test_metrics_and_health_by_http(engine: Engine) -> None:
    metrics = Metrics(DaemonConfig())
    metrics.observe_rpc("Version", 0.1, error=False)
    async with serving(engine, metrics=metrics) as (server, session):
        base = f"http://127.0.0.1:{server.port}"
        async with session.get(f"{base}/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            assert f'{CRIO}operations_total{{operation="Version"}} 1.0' in await response.text()
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with session.get(f"{base}/metrics", headers=accept) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text")
            assert (await response.text()).endswith("# EOF\n")
        async with session.get(f"{base}/healthz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        async with session.get(f"{base}/other") as response:
            assert response.status == 404


async def test_a_daemon_that_is_not_well(engine: Engine) -> None:
    config = DaemonConfig(enable_metrics=True, engine=engine.config, metrics_port=0)
    answers: Iterator[bool | Exception] = iter([False, PodBusy("x"), True])

    async def healthy() -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    server = await start_metrics_server(config, Metrics(config), engine, healthy=healthy)
    try:
        async with aiohttp.ClientSession() as session:
            for status in (503, 503, 200):
                url = f"http://127.0.0.1:{server.port}/healthz"
                async with session.get(url) as response:
                    assert response.status == status
    finally:
        await server.close()


async def test_a_unix_socket_besides(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    async with serving(engine, metrics_socket=str(path)):
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://metrics/metrics") as response:
                assert "process_cpu_seconds_total" in await response.text()
    assert not path.exists()


async def test_a_taken_port_is_told(engine: Engine) -> None:
    async with serving(engine) as (server, _):
        with pytest.raises(NotServing, match=rf"127\.0\.0\.1:{server.port}.*metrics_port"):
            async with serving(engine, metrics_port=server.port):
                pass


def certificate(folder: Path, name: str) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        + ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-keyout", str(folder / "new.key"), "-out", str(folder / "new.crt")],
        check=True,
        capture_output=True,
    )
    os.rename(folder / "new.key", folder / "tls.key")
    os.rename(folder / "new.crt", folder / "tls.crt")


async def is_served(port: int, certificate: str) -> bool:
    """Whether a new connection gets this certificate."""
    found = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return ssl.PEM_cert_to_DER_cert(found) == ssl.PEM_cert_to_DER_cert(certificate)


async def test_tls_with_a_certificate_that_changes(engine: Engine, tmp_path: Path) -> None:
    certificate(tmp_path, "first")
    file = tmp_path / "tls.crt"
    first = file.read_text()
    key = str(tmp_path / "tls.key")
    async with serving(engine, metrics_cert=str(file), metrics_key=key) as (server, session):
        context = ssl.create_default_context(cafile=file)
        url = f"https://127.0.0.1:{server.port}/healthz"
        async with session.get(url, ssl=context) as response:
            assert response.status == 200
        assert await is_served(server.port, first)
        certificate(tmp_path, "second")
        second = file.read_text()
        assert await is_served(server.port, second)
        # A bad one is no reason to stop: the old one stays.
        file.write_text("nonsense")
        server.replace(
            DaemonConfig(metrics_cert=str(file), metrics_key=key, metrics_collectors=("pods",))
        )
        assert await is_served(server.port, second)
        file.write_text(second)
        context = ssl.create_default_context(cafile=file)
        url = f"https://127.0.0.1:{server.port}/metrics"
        async with session.get(url, ssl=context) as response:
            assert f"{CRIO}operations" not in await response.text()
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{server.port}/healthz")


async def test_a_bad_certificate_at_the_start(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("nonsense")
    with pytest.raises(InvalidRequest, match="metrics: certificate"):
        async with serving(engine, metrics_cert=str(tmp_path / "tls.crt")):
            pass


def test_nothing_is_imported_for_metrics_that_nobody_reads() -> None:
    code = (
        "import sys\nfrom trilby.cri.config import DaemonConfig\n"
        "from trilby.cri.metrics import Metrics\n"
        "Metrics(DaemonConfig()).observe_rpc('x', 1, error=False)\n"
        "assert not {'prometheus_client', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
