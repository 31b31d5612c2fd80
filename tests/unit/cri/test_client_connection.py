"""The client against our own server on a socket: errors arrive as the kinds that they were."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trilby.cri.client import address
from trilby.cri.client.connection import Connection
from trilby.cri.client.engine import RemoteEngine
from trilby.cri.client.errors import DaemonConflict, NoDaemon
from trilby.cri.errors import InvalidRequest, NoSuchObject, Unimplemented
from trilby.cri.proto import container_pb2, sandbox_pb2
from trilby.cri.proto import runtime_pb2 as pb
from trilby.cri.server import generic_handlers, make_server
from trilby.errors import (
    Conflict,
    Corrupt,
    InvalidInput,
    NotFound,
    Refused,
    StorageFailure,
    TrilbyError,
    Unavailable,
)
from trilby.pods.errors import (
    ContainerNotFound,
    ExecTimeout,
    NameInUse,
    SandboxNotFound,
    StartFailed,
)


class Answers:
    """An RPC group of whatever a test gives; all else fails with ``error``."""

    def __init__(self, error: Exception | None = None, **methods: object) -> None:
        self._error = error
        self._methods = methods

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        streams = name.startswith("stream_") or name == "get_container_events"
        return self._methods.get(name, self._fail_stream if streams else self._fail)

    async def _fail(self, request: object) -> object:
        assert self._error is not None, f"nobody expected {request}"
        raise self._error

    async def _fail_stream(self, request: object) -> AsyncIterator[object]:
        yield await self._fail(request)


@asynccontextmanager
async def served(answers: Answers, path: Path) -> AsyncIterator[str]:
    socket = str(path / "cri.sock")
    server = make_server(
        socket, generic_handlers([answers]), max_send=64 << 20, max_receive=64 << 20
    )
    await server.start()
    try:
        yield socket
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (NoSuchObject("no such thing"), NotFound),
        (InvalidRequest("not so"), InvalidInput),
        (NameInUse("taken"), Conflict),
        (DaemonConflict("in use"), Conflict),
        (Unimplemented("not here"), Unimplemented),
        (Refused("forbidden"), Refused),
        (Unavailable("later"), Unavailable),
        (Corrupt("wrong digest"), Corrupt),
        (StorageFailure("disk"), TrilbyError),
        (ZeroDivisionError("a fault of ours"), TrilbyError),
    ],
)
async def test_errors_keep_their_kind_and_words(
    tmp_path: Path, raised: Exception, kind: type[TrilbyError]
) -> None:
    async with served(Answers(raised), tmp_path) as socket, Connection(socket) as connection:
        with pytest.raises(kind) as caught:
            await connection.call(pb.VersionRequest(), pb.VersionResponse)
    assert "Version: " in str(caught.value)
    assert str(raised) in str(caught.value)


async def test_errors_of_objects_are_the_engines(tmp_path: Path) -> None:
    async with served(Answers(NoSuchObject("gone")), tmp_path) as socket:
        async with RemoteEngine(socket) as engine:
            with pytest.raises(ContainerNotFound, match="gone"):
                await engine.read_container("abc")
            with pytest.raises(SandboxNotFound, match="gone"):
                await engine.read_sandbox("abc")
            await engine.stop_container("abc")  # as stopped as can be


async def test_a_command_that_takes_too_long(tmp_path: Path) -> None:
    async with served(Answers(ExecTimeout("killed after 1 s")), tmp_path) as socket:
        async with RemoteEngine(socket) as engine:
            with pytest.raises(ExecTimeout, match="killed after 1 s"):
                await engine.exec_sync("abc", ["sleep", "9"], timeout=0.3)


def exited(container_id: str, code: int) -> container_pb2.ContainerStatusResponse:
    return container_pb2.ContainerStatusResponse(
        status=container_pb2.ContainerStatus(
            id=container_id, state=container_pb2.CONTAINER_EXITED, exit_code=code
        )
    )


async def test_a_container_that_cannot_start_is_told_by_its_state(tmp_path: Path) -> None:
    async def status(request: container_pb2.ContainerStatusRequest) -> object:
        return exited(request.container_id, 128)

    answers = Answers(StartFailed("no such program"), container_status=status)
    async with served(answers, tmp_path) as socket, RemoteEngine(socket) as engine:
        with pytest.raises(StartFailed, match="no such program"):
            await engine.start_container("abc")
        assert await engine.wait_container("abc") == 128


@pytest.mark.parametrize("events", [True, False])
async def test_waiting_with_events_and_without(tmp_path: Path, events: bool) -> None:
    ended = asyncio.Event()

    async def status(request: container_pb2.ContainerStatusRequest) -> object:
        if ended.is_set():
            return exited(request.container_id, 7)
        running = container_pb2.ContainerStatus(state=container_pb2.CONTAINER_RUNNING)
        return container_pb2.ContainerStatusResponse(status=running)

    async def stream(request: pb.GetEventsRequest) -> AsyncIterator[pb.ContainerEventResponse]:
        if not events:
            raise Unimplemented("no events here")
        yield pb.ContainerEventResponse(container_id="other")
        await ended.wait()
        yield pb.ContainerEventResponse(
            container_id="abc", container_event_type=pb.CONTAINER_STOPPED_EVENT
        )

    answers = Answers(container_status=status, get_container_events=stream)
    async with served(answers, tmp_path) as socket, RemoteEngine(socket) as engine:
        waiting = asyncio.ensure_future(engine.wait_container("abc"))
        asyncio.get_running_loop().call_later(0.05, ended.set)
        async with asyncio.timeout(3):
            assert await waiting == 7


async def test_a_list_leaves_out_what_goes_meanwhile(tmp_path: Path) -> None:
    Handler = Callable[[object], Awaitable[object]]

    def fixed(answer: object) -> Handler:
        async def give(request: object) -> object:
            return answer

        return give

    async def sandbox(request: sandbox_pb2.PodSandboxStatusRequest) -> object:
        if request.pod_sandbox_id == "gone":
            raise SandboxNotFound("it went")
        one = sandbox_pb2.PodSandboxStatus(id=request.pod_sandbox_id, created_at=1)
        return sandbox_pb2.PodSandboxStatusResponse(status=one)

    async def container(request: container_pb2.ContainerStatusRequest) -> object:
        return exited(request.container_id, 3)

    answers = Answers(
        list_pod_sandbox=fixed(
            sandbox_pb2.ListPodSandboxResponse(
                items=[sandbox_pb2.PodSandbox(id="here"), sandbox_pb2.PodSandbox(id="gone")]
            )
        ),
        list_containers=fixed(
            container_pb2.ListContainersResponse(
                containers=[container_pb2.Container(id="c", pod_sandbox_id="here")]
            )
        ),
        pod_sandbox_status=sandbox,
        container_status=container,
    )
    async with served(answers, tmp_path) as socket, RemoteEngine(socket) as engine:
        found = await engine.snapshot()
    assert [one.id for one in found.sandboxes()] == ["here"]
    assert [(one.id, one.exit_code) for one in found.containers("here")] == [("c", 3)]
    assert found.containers("gone") == []


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("unix:///run/x.sock", "/run/x.sock"),
        ("unix:/run/x.sock", "/run/x.sock"),
        ("/run/x.sock", "/run/x.sock"),
    ],
)
def test_forms_of_an_address(host: str, path: str) -> None:
    assert address.socket_path(host) == path


@pytest.mark.parametrize("host", ["tcp://localhost:1", "run/x.sock", "unix://run/x.sock", ""])
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(InvalidRequest):
        address.socket_path(host)


def test_which_daemon_is_meant() -> None:
    both = {"TRILBY_HOST": "/a", "CONTAINER_RUNTIME_ENDPOINT": "unix:///b"}
    assert address.chosen("/c", both) == "/c"
    assert address.chosen("", both) == "/a"
    assert address.chosen("", {"CONTAINER_RUNTIME_ENDPOINT": "unix:///b"}) == "/b"
    assert address.chosen("", {}) == address.DEFAULT_SOCKET


def test_nobody_answers(tmp_path: Path) -> None:
    path = str(tmp_path / "none.sock")
    with pytest.raises(NoDaemon, match="there is no socket") as missing:
        address.check(path)
    assert "systemctl start" in missing.value.hint
    assert missing.value.exit_code == 5
    os.mknod(path)
    with pytest.raises(NoDaemon):
        address.check(path)
