"""trilby status and trilby events: what they print, and what they say when nobody answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from trilby.cli import events, main, status
from trilby.cri.client.report import (
    Condition,
    DaemonStatus,
    Network,
    Pull,
    Storage,
)
from trilby.cri.event_lines import EventLine, Lines
from trilby.cri.proto import container_pb2, sandbox_pb2
from trilby.cri.proto import runtime_pb2 as pb

READY = Condition(type="RuntimeReady", status=True)
FULL = DaemonStatus(
    version="1.2",
    conditions=(
        READY,
        Condition(type="NetworkReady", status=False, reason="NetworkPluginNotReady", message="no file"),
    ),
    handlers={
        "": {"recursive_read_only": True, "user_namespaces": True},
        "crun": {"recursive_read_only": True, "user_namespaces": True},
        "runc": {"recursive_read_only": False, "user_namespaces": False},
    },
    storage=Storage(driver="overlay", graph_root="/var/lib/x", images=3),
    network=Network(name="trilby"),
    pods={"ready": 2},
    containers={"running": 3, "exited": 1},
    pulls=(
        Pull(
            image="quay.io/a/b:1", bytes=5_000_000, size=20_000_000, percent=25, rate=1e6,
            layers=1, layers_total=4,
        ),
    ),
)  # fmt: skip
LINES = [
    EventLine(at=1_000_000_000, type="created", pod_id="p" * 64, pod="a", namespace="n", state="ready"),
    EventLine(
        at=2_000_000_000, type="stopped", pod_id="p" * 64, pod="a", namespace="n",
        container_id="c" * 64, container="web", state="exited", exit_code=137, reason="OOMKilled",
    ),
]  # fmt: skip


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """The pages that the commands read, on a socket, in another thread."""
    path = str(tmp_path / "d.sock")
    loop = asyncio.new_event_loop()

    def page(value: object) -> web.Response:
        return web.Response(body=msgspec.json.encode(value), content_type="application/json")

    async def serve() -> web.AppRunner:
        app = web.Application()

        async def status_page(request: web.Request) -> web.Response:
            return page(FULL)

        async def events_page(request: web.Request) -> web.Response:
            return page(LINES)

        app.router.add_get("/status", status_page)
        app.router.add_get("/events", events_page)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.UnixSite(runner, path).start()
        return runner

    runner = loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield path
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main.run(main.root_group(), list(argv))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_page_for_people(daemon: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "status", "--host", daemon)
    assert code == 1, "a condition is not well"
    assert out.splitlines() == [
        f"daemon      trilby 1.2 at {daemon}: not ready",
        "conditions  RuntimeReady  yes",
        "            NetworkReady  no   NetworkPluginNotReady: no file",
        "handlers    crun          recursive read-only mounts, user namespaces",
        "            runc          no special features",
        "storage     overlay, /var/lib/x, 3 images",
        "network     trilby (built in)",
        "pods        2 ready",
        "containers  3 running, 1 exited",
        "pulls       quay.io/a/b:1  25 %, 5 MB of 20 MB, 1 MB/s, 1 of 4 layers",
    ]


def test_the_document_for_machines(daemon: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "status", "--host", f"unix://{daemon}", "--format", "json")
    document = msgspec.json.decode(out)
    assert code == 1
    assert document["ready"] is False
    assert document["pulls"][0]["percent"] == 25
    assert document["socket"] == daemon


def test_ready_is_ready() -> None:
    assert DaemonStatus(version="1", conditions=(READY,)).ready
    assert not FULL.ready
    assert "ready" in status.text(DaemonStatus(version="1"), "/x")


@pytest.mark.parametrize(
    "argv",
    [
        ("status",),
        ("events",),
        ("events", "-f"),
        ("pod", "trace", "x"),
        ("pod", "ps"),
        ("pod", "exec", "x", "true"),
        ("image", "list"),
        ("image", "pull", "x"),
    ],
)
def test_nobody_answers(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: tuple[str, ...],
) -> None:
    monkeypatch.setenv("TRILBY_HOST", str(tmp_path / "none.sock"))
    code, out, err = call(capsys, *argv)
    assert code == (125 if "exec" in argv else 5)
    assert out == ""
    assert "no daemon runs: there is no socket" in err
    assert "Hint: systemctl start" in err


def test_events_that_are_remembered(daemon: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "events", "--host", daemon)
    first, second = out.splitlines()
    assert code == 0
    assert first.endswith("created  pod n/a (pppppppppppp)  ready")
    assert second.endswith(
        "stopped  pod n/a container web (cccccccccccc)  exited  exit code 137  OOMKilled"
    )


@pytest.mark.parametrize(
    ("argv", "count"),
    [
        (("--filter", "type=stopped"), 1),
        (("--filter", "pod=a"), 2),
        (("--filter", "pod=ppp"), 2),
        (("--filter", "container=web", "--filter", "type=created"), 0),
        (("--since", "1970-01-01T00:00:02Z"), 1),
        (("--since", "1h"), 0),
    ],
)
def test_events_that_are_wanted(
    daemon: str, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], count: int
) -> None:
    code, out, _ = call(capsys, "events", "--host", daemon, "--format", "json", *argv)
    assert code == 0
    assert len(out.splitlines()) == count
    for line in out.splitlines():
        assert msgspec.json.decode(line)["time"].startswith("19")


def test_a_filter_that_is_none(daemon: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "events", "--host", daemon, "--filter", "colour=red")
    assert code == 2
    assert "container, namespace, pod, type" in err


def event(
    kind: pb.ContainerEventType, some_id: str, *containers: container_pb2.ContainerStatus,
    pod: bool = True,
) -> pb.ContainerEventResponse:  # fmt: skip
    message = pb.ContainerEventResponse(
        container_id=some_id,
        container_event_type=kind,
        created_at=5,
        containers_statuses=containers,
    )
    if pod:
        message.pod_sandbox_status.id = "pod"
        message.pod_sandbox_status.metadata.name = "hello"
        message.pod_sandbox_status.metadata.namespace = "default"
        message.pod_sandbox_status.state = sandbox_pb2.SANDBOX_READY
    return message


def test_names_are_known_after_the_end() -> None:
    lines = Lines()
    web = container_pb2.ContainerStatus(id="c", state=container_pb2.CONTAINER_RUNNING)
    web.metadata.name = "web"
    assert lines.line(event(pb.CONTAINER_CREATED_EVENT, "pod")).state == "ready"
    started = lines.line(event(pb.CONTAINER_STARTED_EVENT, "c", web))
    assert (started.container, started.state, started.exit_code) == ("web", "running", None)
    gone = lines.line(event(pb.CONTAINER_DELETED_EVENT, "c", pod=False))
    assert (gone.pod, gone.container, gone.container_id) == ("hello", "web", "c")
    pod_gone = lines.line(event(pb.CONTAINER_DELETED_EVENT, "pod", pod=False))
    assert (pod_gone.pod, pod_gone.container_id, pod_gone.pod_id) == ("hello", "", "pod")
    assert events.text(pod_gone).endswith("deleted  pod default/hello (pod)")


def test_names_of_what_happened_before() -> None:
    lines = Lines()
    lines.seed(LINES)
    gone = lines.line(event(pb.CONTAINER_DELETED_EVENT, "c" * 64, pod=False))
    assert (gone.namespace, gone.pod, gone.container) == ("n", "a", "web")
