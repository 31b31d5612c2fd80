"""What the CRI's text promises, asked of a real daemon: codes, idempotence, filters, fields."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from tests.support.daemon import IMAGE, DaemonProcess, container_config, pod_config
from tests.support.pods import store_rootfs

from trilby.cri.client.connection import Connection
from trilby.cri.proto import common_pb2, container_pb2, image_pb2, runtime_pb2, sandbox_pb2
from trilby.errors import TrilbyError

NOBODY = "0" * 64


def code(error: TrilbyError) -> grpc.StatusCode:
    """The gRPC code that the daemon answered with."""
    cause = error.__cause__
    assert isinstance(cause, grpc.aio.AioRpcError)
    return cause.code()


async def refused(
    daemon: DaemonProcess, request: Message, answer: type[Message]
) -> grpc.StatusCode:
    with pytest.raises(TrilbyError) as found:
        await daemon.call(request, answer)
    return code(found.value)


async def test_what_does_not_exist(trilbyd: DaemonProcess) -> None:
    """Status, start and exec say NOT_FOUND; stopping and removing have nothing to do."""
    sandbox, container = sandbox_pb2, container_pb2
    unknown: list[tuple[Message, type[Message]]] = [
        (
            sandbox.PodSandboxStatusRequest(pod_sandbox_id=NOBODY),
            sandbox.PodSandboxStatusResponse,
        ),
        (container.ContainerStatusRequest(container_id=NOBODY), container.ContainerStatusResponse),
        (container.StartContainerRequest(container_id=NOBODY), container.StartContainerResponse),
        (container.ExecSyncRequest(container_id=NOBODY, cmd=["true"]), container.ExecSyncResponse),
        (container.ExecRequest(container_id=NOBODY, cmd=["true"]), container.ExecResponse),
        (
            container.ReopenContainerLogRequest(container_id=NOBODY),
            container.ReopenContainerLogResponse,
        ),
        (
            sandbox.UpdatePodSandboxResourcesRequest(pod_sandbox_id=NOBODY),
            sandbox.UpdatePodSandboxResourcesResponse,
        ),
    ]
    for request, answer in unknown:
        assert await refused(trilbyd, request, answer) is grpc.StatusCode.NOT_FOUND, request
    gone: list[tuple[Message, type[Message]]] = [
        (sandbox.StopPodSandboxRequest(pod_sandbox_id=NOBODY), sandbox.StopPodSandboxResponse),
        (sandbox.RemovePodSandboxRequest(pod_sandbox_id=NOBODY), sandbox.RemovePodSandboxResponse),
        (container.StopContainerRequest(container_id=NOBODY), container.StopContainerResponse),
        (container.RemoveContainerRequest(container_id=NOBODY), container.RemoveContainerResponse),
        (
            image_pb2.RemoveImageRequest(image=common_pb2.ImageSpec(image="localhost/none:1")),
            image_pb2.RemoveImageResponse,
        ),
    ]
    for request, answer in gone:
        await trilbyd.call(request, answer)
    status = await trilbyd.call(
        image_pb2.ImageStatusRequest(image=common_pb2.ImageSpec(image="localhost/none:1")),
        image_pb2.ImageStatusResponse,
    )
    assert not status.HasField("image")
    empty = sandbox.StopPodSandboxRequest()
    found = await refused(trilbyd, empty, sandbox.StopPodSandboxResponse)
    assert found is grpc.StatusCode.INVALID_ARGUMENT


async def test_lists_and_their_filters(trilbyd: DaemonProcess) -> None:
    first = await trilbyd.run_pod("first", labels={"app": "a", "tier": "x"})
    second = await trilbyd.run_pod("second", labels={"app": "b", "tier": "x"})
    running = await trilbyd.run(first, "running", labels={"role": "r"})
    created = await trilbyd.create(second, "created", labels={"role": "c"})
    await trilbyd.call(
        sandbox_pb2.StopPodSandboxRequest(pod_sandbox_id=second),
        sandbox_pb2.StopPodSandboxResponse,
    )

    async def sandboxes(**wanted: object) -> set[str]:
        chosen = sandbox_pb2.PodSandboxFilter(**wanted)  # type: ignore[arg-type]
        request = sandbox_pb2.ListPodSandboxRequest(filter=chosen)
        answer = await trilbyd.call(request, sandbox_pb2.ListPodSandboxResponse)
        return {item.id for item in answer.items}

    async def containers(**wanted: object) -> set[str]:
        chosen = container_pb2.ContainerFilter(**wanted)  # type: ignore[arg-type]
        request = container_pb2.ListContainersRequest(filter=chosen)
        answer = await trilbyd.call(request, container_pb2.ListContainersResponse)
        return {item.id for item in answer.containers}

    ready = sandbox_pb2.PodSandboxStateValue(state=sandbox_pb2.SANDBOX_READY)
    assert await sandboxes() == {first, second}
    assert await sandboxes(state=ready) == {first}
    assert await sandboxes(id=second[:8]) == {second}
    assert await sandboxes(id=NOBODY) == set()
    assert await sandboxes(label_selector={"tier": "x"}) == {first, second}
    assert await sandboxes(label_selector={"tier": "x", "app": "b"}) == {second}
    assert await sandboxes(id=first, label_selector={"app": "b"}) == set()
    state = container_pb2.ContainerStateValue(state=container_pb2.CONTAINER_RUNNING)
    assert await containers() == {running, created}
    assert await containers(state=state) == {running}
    assert await containers(pod_sandbox_id=second[:6]) == {created}
    assert await containers(label_selector={"role": "c"}) == {created}
    assert await containers(id=running[:10], pod_sandbox_id=second) == set()
    async with Connection(trilbyd.socket) as connection:
        streamed = connection.stream(
            container_pb2.StreamContainersRequest(), container_pb2.StreamContainersResponse
        )
        seen = [item.id async for message in streamed for item in message.containers]
    assert sorted(seen) == sorted([running, created])


async def test_every_field_of_a_status(trilbyd: DaemonProcess) -> None:
    config = pod_config(
        "full",
        hostname="box",
        labels={"a": "1"},
        annotations={"b": "2"},
        linux=sandbox_pb2.LinuxPodSandboxConfig(
            security_context=sandbox_pb2.LinuxSandboxSecurityContext(
                namespace_options=common_pb2.NamespaceOption(pid=common_pb2.CONTAINER)
            )
        ),
    )
    answer = await trilbyd.call(
        sandbox_pb2.RunPodSandboxRequest(config=config, runtime_handler="runc"),
        sandbox_pb2.RunPodSandboxResponse,
    )
    sandbox = answer.pod_sandbox_id
    linux = container_pb2.LinuxContainerConfig(
        resources=common_pb2.LinuxContainerResources(
            cpu_shares=512, cpu_period=100000, cpu_quota=50000, memory_limit_in_bytes=64 << 20
        ),
        security_context=container_pb2.LinuxContainerSecurityContext(
            namespace_options=common_pb2.NamespaceOption(pid=common_pb2.CONTAINER),
            run_as_user=common_pb2.Int64Value(value=1000),
            run_as_group=common_pb2.Int64Value(value=1000),
            supplemental_groups=[3000],
            supplemental_groups_policy=common_pb2.Strict,
        ),
    )
    mount = common_pb2.Mount(container_path="/m", host_path=str(trilbyd.place.root / "m"))
    (trilbyd.place.root / "m").mkdir()
    request = container_config(
        "full",
        labels={"c": "3"},
        annotations={"d": "4"},
        linux=linux,
        mounts=[mount],
        stop_signal=common_pb2.SIGUSR1,
    )
    request.image.user_specified_image = "busybox"
    made = await trilbyd.call(
        runtime_pb2.CreateContainerRequest(
            pod_sandbox_id=sandbox, config=request, sandbox_config=config
        ),
        container_pb2.CreateContainerResponse,
    )
    await trilbyd.start_container(made.container_id)
    status = await trilbyd.status(made.container_id)
    assert status.metadata == request.metadata
    assert (dict(status.labels), dict(status.annotations)) == ({"c": "3"}, {"d": "4"})
    assert status.stop_signal == common_pb2.SIGUSR1
    assert (status.user.linux.uid, status.user.linux.gid) == (1000, 1000)
    assert list(status.user.linux.supplemental_groups) == [1000, 3000]
    assert status.resources.linux.memory_limit_in_bytes == 64 << 20
    assert status.resources.linux.cpu_quota == 50000
    assert list(status.mounts) == [mount]
    assert status.image.image == "busybox" and status.image.user_specified_image == "busybox"
    assert 0 < status.created_at <= status.started_at and status.finished_at == 0
    assert os.path.isabs(status.log_path)
    found = await trilbyd.call(
        image_pb2.ImageStatusRequest(image=common_pb2.ImageSpec(image=IMAGE)),
        image_pb2.ImageStatusResponse,
    )
    (listed,) = await trilbyd.containers()
    assert found.image.id == status.image_ref == status.image_id
    assert found.image.id == listed.image_ref == listed.image_id
    pod = await trilbyd.call(
        sandbox_pb2.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True),
        sandbox_pb2.PodSandboxStatusResponse,
    )
    assert pod.status.metadata == config.metadata
    assert pod.status.runtime_handler == "runc" and pod.status.network.ip
    assert pod.status.linux.namespaces.options.pid == common_pb2.CONTAINER
    assert [one.id for one in pod.containers_statuses] == [made.container_id]
    assert pod.timestamp >= status.started_at and pod.info["info"].startswith("{")


async def test_a_failed_start_stays_as_evidence(trilbyd: DaemonProcess) -> None:
    sandbox = await trilbyd.run_pod()
    container = await trilbyd.create(sandbox, "bad", "/no/such/program")
    with pytest.raises(TrilbyError, match="/no/such/program"):
        await trilbyd.start_container(container)
    status = await trilbyd.status(container)
    assert (status.state, status.exit_code) == (container_pb2.CONTAINER_EXITED, 128)
    assert status.reason == "StartError" and "/no/such/program" in status.message


async def test_resources_change_in_place(trilbyd: DaemonProcess) -> None:
    """The kernel's files say so, and what is refused changes nothing."""
    sandbox = await trilbyd.run_pod()
    limits = common_pb2.LinuxContainerResources(
        memory_limit_in_bytes=64 << 20, cpu_shares=512, cpu_period=100000, cpu_quota=20000
    )
    linux = container_pb2.LinuxContainerConfig(resources=limits)
    container = await trilbyd.run(sandbox, "sized", linux=linux)

    async def update(**changes: object) -> None:
        resources = common_pb2.LinuxContainerResources(**changes)  # type: ignore[arg-type]
        await trilbyd.call(
            container_pb2.UpdateContainerResourcesRequest(container_id=container, linux=resources),
            container_pb2.UpdateContainerResourcesResponse,
        )

    await update(memory_limit_in_bytes=96 << 20, cpu_quota=40000, cpu_period=100000)
    status = await trilbyd.status(container)
    assert status.resources.linux.memory_limit_in_bytes == 96 << 20
    assert status.resources.linux.cpu_quota == 40000
    assert status.resources.linux.cpu_shares == 512
    assert _limit(trilbyd, container, "memory", "memory.limit_in_bytes", "memory.max") == 96 << 20
    with pytest.raises(TrilbyError):
        # Less than it uses already: refused, and the processor's quota with it.
        await update(memory_limit_in_bytes=4096, cpu_quota=30000)
    status = await trilbyd.status(container)
    assert status.resources.linux.memory_limit_in_bytes == 96 << 20
    assert status.resources.linux.cpu_quota == 40000
    assert _limit(trilbyd, container, "memory", "memory.limit_in_bytes", "memory.max") == 96 << 20
    assert _limit(trilbyd, container, "cpu", "cpu.cfs_quota_us", "cpu.max") == 40000


def _limit(daemon: DaemonProcess, container: str, controller: str, v1: str, v2: str) -> int:
    """A number of the container's cgroup."""
    for top, name in ((f"/sys/fs/cgroup/{controller}", v1), ("/sys/fs/cgroup", v2)):
        parent = Path(top + daemon.place.cgroup_parent)
        for folder in parent.rglob(f"*{container}*"):
            if (folder / name).exists():
                return int((folder / name).read_text().split()[0])
    raise AssertionError(f"no cgroup of {container} has {controller}")


async def test_events_wait_for_a_reader(trilbyd: DaemonProcess) -> None:
    """What happened before somebody listened is told first, with the state at that time."""
    sandbox = await trilbyd.run_pod()
    container = await trilbyd.run(sandbox, "brief", "true")
    async with Connection(trilbyd.socket) as connection:
        events = connection.stream(
            runtime_pb2.GetEventsRequest(), runtime_pb2.ContainerEventResponse
        )
        seen: list[tuple[str, int]] = []
        async with asyncio.timeout(20):
            async for event in events:
                seen.append((event.container_id, event.container_event_type))
                if event.container_event_type == runtime_pb2.CONTAINER_STOPPED_EVENT:
                    break
        assert seen == [
            (sandbox, runtime_pb2.CONTAINER_CREATED_EVENT),
            (sandbox, runtime_pb2.CONTAINER_STARTED_EVENT),
            (container, runtime_pb2.CONTAINER_CREATED_EVENT),
            (container, runtime_pb2.CONTAINER_STARTED_EVENT),
            (container, runtime_pb2.CONTAINER_STOPPED_EVENT),
        ]
        assert event.pod_sandbox_status.id == sandbox
        assert [one.exit_code for one in event.containers_statuses] == [0]
        await trilbyd.remove_pod(sandbox)
        async with asyncio.timeout(20):
            async for event in events:
                if event.container_event_type == runtime_pb2.CONTAINER_DELETED_EVENT:
                    break
        assert event.container_id in (container, sandbox)


async def test_removing_an_image_by_a_tag_removes_all_its_names(trilbyd: DaemonProcess) -> None:
    rootfs = store_rootfs(trilbyd.place)
    rootfs.images.tag(IMAGE, "localhost/other:1")
    rootfs.store.close()

    async def images() -> list[image_pb2.Image]:
        answer = await trilbyd.call(image_pb2.ListImagesRequest(), image_pb2.ListImagesResponse)
        return list(answer.images)

    (image,) = await images()
    assert sorted(image.repo_tags) == [IMAGE, "localhost/other:1"]
    assert image.uid.value == 0 and image.username == "" and image.size > 0
    sandbox = await trilbyd.run_pod()
    await trilbyd.create(sandbox)
    spec = common_pb2.ImageSpec(image="localhost/other:1")
    used = await refused(
        trilbyd, image_pb2.RemoveImageRequest(image=spec), image_pb2.RemoveImageResponse
    )
    assert used is grpc.StatusCode.FAILED_PRECONDITION
    await trilbyd.remove_pod(sandbox)
    usage = await trilbyd.call(image_pb2.ImageFsInfoRequest(), image_pb2.ImageFsInfoResponse)
    await trilbyd.call(image_pb2.RemoveImageRequest(image=spec), image_pb2.RemoveImageResponse)
    assert await images() == []
    after = await trilbyd.call(image_pb2.ImageFsInfoRequest(), image_pb2.ImageFsInfoResponse)
    before_bytes = usage.image_filesystems[0].used_bytes.value
    assert after.image_filesystems[0].used_bytes.value < before_bytes


async def test_a_log_is_there_again_after_its_rotation(trilbyd: DaemonProcess) -> None:
    sandbox = await trilbyd.run_pod("logs", log_directory=str(trilbyd.place.root / "logs" / "p"))
    container = await trilbyd.run(sandbox, "talks", "sh", "-c", "echo one; sleep 1000")
    log = Path((await trilbyd.status(container)).log_path)
    assert log == trilbyd.place.root / "logs" / "p" / "talks.log"
    log.rename(log.with_suffix(".1"))
    await trilbyd.call(
        container_pb2.ReopenContainerLogRequest(container_id=container),
        container_pb2.ReopenContainerLogResponse,
    )
    assert log.exists()
    await trilbyd.call(
        container_pb2.StopContainerRequest(container_id=container),
        container_pb2.StopContainerResponse,
    )
    found = await refused(
        trilbyd,
        container_pb2.ReopenContainerLogRequest(container_id=container),
        container_pb2.ReopenContainerLogResponse,
    )
    assert found is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_command_that_takes_too_long_is_killed(trilbyd: DaemonProcess) -> None:
    sandbox = await trilbyd.run_pod()
    container = await trilbyd.run(sandbox)
    with pytest.raises(TrilbyError) as found:
        await trilbyd.exec(container, "sleep", "4321", timeout=1)
    assert code(found.value) is grpc.StatusCode.DEADLINE_EXCEEDED
    _, processes = await trilbyd.exec(container, "ps")
    assert b"4321" not in processes
    assert await trilbyd.exec(container, "sh", "-c", "exit 3") == (3, b"")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": {"k": "v" * 5000}}, "label"),
        ({"metadata": sandbox_pb2.PodSandboxMetadata()}, "name"),
        ({"log_directory": "relative"}, "absolute"),
        (
            {
                "linux": sandbox_pb2.LinuxPodSandboxConfig(
                    security_context=sandbox_pb2.LinuxSandboxSecurityContext(
                        run_as_group=common_pb2.Int64Value(value=1)
                    )
                )
            },
            "run_as_group",
        ),
        ({"linux": sandbox_pb2.LinuxPodSandboxConfig(sysctls={"vm.swappiness": "1"})}, "sysctl"),
    ],
)
async def test_bad_sandboxes_are_refused(
    trilbyd: DaemonProcess, changes: dict[str, object], said: str
) -> None:
    config = pod_config()
    for name, value in changes.items():
        config.ClearField(name)
        config.MergeFrom(sandbox_pb2.PodSandboxConfig(**{name: value}))  # type: ignore[arg-type]
    request = sandbox_pb2.RunPodSandboxRequest(config=config)
    with pytest.raises(TrilbyError, match=said) as found:
        await trilbyd.call(request, sandbox_pb2.RunPodSandboxResponse)
    assert code(found.value) is grpc.StatusCode.INVALID_ARGUMENT
    unknown = sandbox_pb2.RunPodSandboxRequest(config=pod_config(), runtime_handler="none")
    with pytest.raises(TrilbyError, match="none"):
        await trilbyd.call(unknown, sandbox_pb2.RunPodSandboxResponse)
    assert await trilbyd.sandboxes() == []
