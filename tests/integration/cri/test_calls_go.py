"""Every RPC of a running daemon, called by Go with the real API's types: nothing is unknown there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.support.criwire import Answer, Caller, caller
from tests.support.daemon import IMAGE, DaemonProcess

from trilby.cri.proto import runtime_pb2

pytestmark = pytest.mark.timeout(900)  # the Go program may have to be built

RPCS = {
    f"{service.name}/{method.name}"
    for service in runtime_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
POD = {"metadata": {"name": "pod", "uid": "uid-pod", "namespace": "test"}, "labels": {"a": "b"}}
NOBODY = "0" * 64


class Calls:
    """Remembers which RPCs were called; unknown fields in any response fail the test."""

    def __init__(self, go: Caller) -> None:
        self._go = go
        self.called: set[str] = set()

    def answer(self, rpc: str, **request: Any) -> Answer:
        self.called.add(rpc)
        answer = self._go.call(rpc, **request)
        assert answer.unknown == [], rpc
        return answer

    def runtime(self, rpc: str, **request: Any) -> dict[str, Any]:
        """The only response of an RPC of the RuntimeService."""
        return self.answer(f"RuntimeService/{rpc}", **request).only

    def image(self, rpc: str, **request: Any) -> dict[str, Any]:
        """The only response of an RPC of the ImageService."""
        return self.answer(f"ImageService/{rpc}", **request).only

    def stream(self, rpc: str, field: str) -> list[dict[str, Any]]:
        """The items of all responses of a streaming list."""
        answer = self.answer(rpc)
        assert answer.code == "OK", answer.error
        return [item for response in answer.responses for item in response[field]]


def test_every_rpc(trilbyd: DaemonProcess) -> None:
    with (
        caller(trilbyd.socket) as go,
        caller(trilbyd.socket) as listener,
        ThreadPoolExecutor(1) as threads,
    ):
        events = threads.submit(
            listener.call, "RuntimeService/GetContainerEvents", take=8, deadline=30
        )
        calls = Calls(go)
        daemon(calls)
        images(calls)
        sandbox = calls.runtime("RunPodSandbox", config=POD)["pod_sandbox_id"]
        container = make_container(calls, sandbox)
        lists(calls, sandbox, container)
        running(calls, sandbox, container)
        statistics(calls, sandbox, container)
        ends(calls, sandbox, container)
        got = events.result(60)
        assert (got.code, got.unknown) == ("OK", [])
        assert got.responses[-1]["container_event_type"] == "CONTAINER_DELETED_EVENT"
        assert got.responses[-1]["container_id"] == sandbox
        # The kubelet ignores an event that does not say whose pod it is about.
        assert {event["pod_sandbox_status"]["metadata"]["uid"] for event in got.responses} == {
            "uid-pod"
        }
        calls.called.add("RuntimeService/GetContainerEvents")
    assert calls.called == RPCS


def daemon(calls: Calls) -> None:
    assert calls.runtime("Version", version="v1")["runtime_name"] == "trilby"
    status = calls.runtime("Status", verbose=True)
    conditions = {one["type"]: one["status"] for one in status["status"]["conditions"]}
    assert conditions["RuntimeReady"] is True
    assert status["info"]
    assert calls.runtime("RuntimeConfig")["linux"]["cgroup_driver"] == "CGROUPFS"
    config = {"network_config": {"pod_cidr": "10.1.0.0/16"}}
    calls.runtime("UpdateRuntimeConfig", runtime_config=config)


def images(calls: Calls) -> None:
    [listed] = calls.image("ListImages")["images"]
    assert listed["repo_tags"] == [IMAGE]
    assert calls.stream("ImageService/StreamImages", "images") == [listed]
    found = calls.image("ImageStatus", image={"image": IMAGE}, verbose=True)
    assert found["image"]["id"] == listed["id"]
    assert found["info"]
    assert "image" not in calls.image("ImageStatus", image={"image": "nothing:here"})
    assert calls.image("ImageFsInfo")["image_filesystems"][0]["fs_id"]["mountpoint"]
    missing = calls.answer("ImageService/PullImage", image={"image": "127.0.0.1:1/nothing:here"})
    assert missing.code == "Unavailable"


def make_container(calls: Calls, sandbox: str) -> str:
    config = {
        "metadata": {"name": "main"},
        "image": {"image": IMAGE},
        "command": ["cat"],
        "stdin": True,
        "log_path": "main.log",
    }
    container = calls.runtime(
        "CreateContainer", pod_sandbox_id=sandbox, config=config, sandbox_config=POD
    )["container_id"]
    calls.runtime("StartContainer", container_id=container)
    assert isinstance(container, str)
    return container


def lists(calls: Calls, sandbox: str, container: str) -> None:
    [listed] = calls.runtime("ListPodSandbox", filter={"label_selector": {"a": "b"}})["items"]
    assert listed["id"] == sandbox
    assert calls.stream("RuntimeService/StreamPodSandboxes", "pod_sandboxes") == [listed]
    [listed] = calls.runtime("ListContainers", filter={"pod_sandbox_id": sandbox})["containers"]
    assert (listed["id"], listed["state"]) == (container, "CONTAINER_RUNNING")
    assert calls.stream("RuntimeService/StreamContainers", "containers") == [listed]
    pod = calls.runtime("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
    assert (pod["status"]["state"], bool(pod["info"])) == ("SANDBOX_READY", True)
    status = calls.runtime("ContainerStatus", container_id=container, verbose=True)
    assert (status["status"]["state"], bool(status["info"])) == ("CONTAINER_RUNNING", True)


def running(calls: Calls, sandbox: str, container: str) -> None:
    limits = {"cpu_shares": "512", "memory_limit_in_bytes": str(64 << 20)}
    calls.runtime("UpdateContainerResources", container_id=container, linux=limits)
    calls.runtime("UpdatePodSandboxResources", pod_sandbox_id=sandbox, resources=limits)
    calls.runtime("ReopenContainerLog", container_id=container)
    done = calls.runtime("ExecSync", container_id=container, cmd=["sh", "-c", "exit 3"])
    assert done["exit_code"] == 3
    where = {"container_id": container, "stdout": True}
    assert calls.runtime("Exec", cmd=["true"], **where)["url"].startswith("http://127.0.0.1:")
    assert calls.runtime("Attach", **where)["url"].startswith("http://127.0.0.1:")
    ports = calls.runtime("PortForward", pod_sandbox_id=sandbox, port=[80])
    assert ports["url"].startswith("http://127.0.0.1:")
    checkpoint = calls.answer("RuntimeService/CheckpointContainer", container_id=container)
    assert checkpoint.code == "Unimplemented"


def statistics(calls: Calls, sandbox: str, container: str) -> None:
    one = calls.runtime("ContainerStats", container_id=container)["stats"]
    assert one["attributes"]["id"] == container
    assert int(one["memory"]["working_set_bytes"]["value"]) > 0
    [listed] = calls.runtime("ListContainerStats")["stats"]
    assert listed["attributes"] == one["attributes"]
    [streamed] = calls.stream("RuntimeService/StreamContainerStats", "container_stats")
    assert streamed["attributes"] == one["attributes"]
    pod = calls.runtime("PodSandboxStats", pod_sandbox_id=sandbox)["stats"]
    assert pod["attributes"]["id"] == sandbox
    [listed] = calls.runtime("ListPodSandboxStats")["stats"]
    [streamed] = calls.stream("RuntimeService/StreamPodSandboxStats", "pod_sandbox_stats")
    assert listed["attributes"] == streamed["attributes"] == pod["attributes"]
    described = {one["name"] for one in calls.runtime("ListMetricDescriptors")["descriptors"]}
    [metrics] = calls.runtime("ListPodSandboxMetrics")["pod_metrics"]
    [streamed] = calls.stream("RuntimeService/StreamPodSandboxMetrics", "pod_sandbox_metrics")
    assert metrics["pod_sandbox_id"] == streamed["pod_sandbox_id"] == sandbox
    of_container = metrics["container_metrics"][0]["metrics"]
    assert {one["name"] for one in (*metrics["metrics"], *of_container)} <= described


def ends(calls: Calls, sandbox: str, container: str) -> None:
    calls.runtime("StopContainer", container_id=container, timeout="0")
    calls.runtime("RemoveContainer", container_id=container)
    calls.runtime("StopPodSandbox", pod_sandbox_id=sandbox)
    calls.runtime("RemovePodSandbox", pod_sandbox_id=sandbox)
    calls.image("RemoveImage", image={"image": IMAGE})
    assert calls.image("ListImages")["images"] == []


@pytest.mark.parametrize(
    ("rpc", "code"),
    [
        *((rpc, "OK") for rpc in ("StopContainer", "RemoveContainer")),
        *((rpc, "NotFound") for rpc in ("ContainerStatus", "StartContainer", "ExecSync")),
        *((rpc, "NotFound") for rpc in ("Exec", "Attach", "ContainerStats")),
        *((rpc, "NotFound") for rpc in ("ReopenContainerLog", "UpdateContainerResources")),
    ],
)
def test_a_container_that_is_not_there(trilbyd: DaemonProcess, rpc: str, code: str) -> None:
    request: dict[str, Any] = {"container_id": NOBODY}
    if rpc.startswith("Exec"):
        request["cmd"] = ["true"]
    if rpc in ("Exec", "Attach"):
        request["stdout"] = True
    if rpc == "UpdateContainerResources":
        request["linux"] = {"cpu_shares": "512"}
    with caller(trilbyd.socket) as go:
        assert go.call(f"RuntimeService/{rpc}", **request).code == code
