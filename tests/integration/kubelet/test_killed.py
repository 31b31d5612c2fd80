"""kill -9 of either process, or of both: pods go on as if nothing had been."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.kubelet.manifests import container, pod
from tests.support.kubernetes_host import ADDRESS
from tests.support.kubernetes_node import (
    AGNHOST,
    BUSYBOX,
    READY,
    RUNNING,
    Node,
    Pod,
    containers,
    ready,
)

pytestmark = pytest.mark.timeout(900)  # the kubelet may have to be built


def manifest() -> Pod:
    """A pod with all that has to go on: a server, a sidecar, a probe, a log, a volume."""
    server = container(
        *("server", "/agnhost", "netexec", "--http-port=8080", "--udp-port=-1"),
        image=AGNHOST,
        ports=[{"containerPort": 8080, "hostPort": 18081}],
        readinessProbe={"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1},
    )
    counter = container(
        *("counter", "sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done"),
        stdin=True,
        livenessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1},
    )
    sidecar = container("sidecar", restartPolicy="Always")
    return pod("goes-on", server, counter, initContainers=[sidecar])


@pytest.fixture(scope="module")
def name(node: Node) -> Iterator[str]:
    name = node.add(manifest())
    node.wait_ready(name)
    yield name
    node.remove(name)


def kill_runtime(node: Node) -> None:
    node.runtime.end(signal.SIGKILL)
    node.start_runtime()


def kill_kubelet(node: Node) -> None:
    node.kubelet.end(signal.SIGKILL)
    node.start_kubelet()


def kill_both(node: Node) -> None:
    node.kubelet.end(signal.SIGKILL)
    kill_runtime(node)
    node.start_kubelet()


def end_runtime(node: Node) -> None:
    assert node.runtime.end(signal.SIGTERM) == 0
    node.start_runtime()


def identity(found: Pod) -> dict[str, tuple[str, int, str]]:
    """What must not change of each container."""
    return {
        name: (one["containerID"], one["restartCount"], one["state"]["running"]["startedAt"])
        for name, one in containers(found).items()
    }


WAYS = [kill_runtime, kill_kubelet, kill_both, end_runtime]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_pod_goes_on(node: Node, name: str, way: Callable[[Node], None]) -> None:
    before = node.wait_ready(name)
    lines = len(log(node, name))
    way(node)
    # Ready is stale after a restart: a new container shows that the kubelet works again.
    # (The kubelet lets a second pod of the same name wait for ten seconds.)
    proof = node.add(pod("proof-" + way.__name__.replace("_", "-"), container("main")))
    node.wait_ready(proof)
    node.remove(proof)
    after = node.wait_ready(name)
    assert identity(after) == identity(before)
    assert after["status"]["podIPs"] == before["status"]["podIPs"]
    assert node.fetch(ADDRESS, 18081, "/hostname") == name.encode()
    counted = list(map(int, log(node, name)))
    assert len(counted) > lines
    assert counted == list(range(1, len(counted) + 1)), "the log has a gap"
    for command in (("exec", f"default/{name}/counter", "echo", "it goes on"),):
        assert node.client(*command).stdout == b"it goes on\n"


def log(node: Node, name: str) -> list[str]:
    """What the counter has written, all files together."""
    uid = node.pod(name)["metadata"]["uid"]
    folder = node.host.path(f"/var/log/pods/default_{name}_{uid}/counter")
    lines: list[str] = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.name == "0.log", path.name)):
        lines += [line.split(" ", 3)[3] for line in path.read_text().splitlines()]
    return lines


@pytest.mark.parametrize("kubelet_too", [False, True], ids=["runtime", "both"])
def test_an_end_while_nobody_looked_is_reported(node: Node, kubelet_too: bool) -> None:
    script = (
        "until test -e /record/now; do sleep 0.05; done; echo bye >/dev/termination-log; exit 9"
    )
    main = container(
        "main", "sh", "-c", script, volumeMounts=[{"name": "record", "mountPath": "/record"}]
    )
    place = f"/run/ends-{kubelet_too}"
    volumes = [{"name": "record", "hostPath": {"path": place, "type": "DirectoryOrCreate"}}]
    name = node.add(
        pod(f"ends-{kubelet_too}".lower(), main, volumes=volumes, restartPolicy="Never")
    )
    before = containers(node.wait_ready(name))["main"]
    if kubelet_too:
        node.kubelet.end(signal.SIGKILL)
    node.runtime.end(signal.SIGKILL)
    node.host.path(f"{place}/now").touch()
    exits = node.host.path("/run/containers/storage/trilby/exits")
    exit_file = exits / before["containerID"].removeprefix("trilby://")
    node.wait(exit_file.exists, "conmon to write the exit code")
    node.start_runtime()
    if kubelet_too:
        node.start_kubelet()

    def ended(found: Pod) -> dict[str, Any]:
        end: dict[str, Any] = (
            containers(found).get("main", {}).get("state", {}).get("terminated", {})
        )
        return end

    end = ended(node.wait_pod(name, ended, "ended"))
    assert (end["exitCode"], end["message"]) == (9, "bye\n")
    assert end["containerID"] == before["containerID"]
    node.remove(name)


def test_a_runtime_killed_while_pods_start(node: Node) -> None:
    """Half-made sandboxes and containers are undone; the kubelet makes them again."""
    made = [pod(f"many-{number}", container("main"), container("more")) for number in range(5)]
    names = [node.add(one) for one in made]
    node.wait(lambda: len(made_of(node, names)) >= 3, "the first sandboxes")
    kill_runtime(node)
    for name in names:
        node.wait_ready(name)
    for name in names:
        running = [one for one in node.containers(name) if one["state"] == RUNNING]
        assert len(running) == 2, running
    node.remove(*names)


def made_of(node: Node, pods: list[str]) -> list[str]:
    """Which of these pods have a sandbox."""
    return [one["id"] for one in node.sandboxes() if one["metadata"]["name"] in pods]


def test_unused_images_are_collected(node: Node, name: str) -> None:
    """Under pressure the kubelet removes what no container uses, and no more."""
    unused = "localhost/unused:test"
    rootfs = node.host.path("/srv/unused")
    rootfs.mkdir()
    (rootfs / "file").write_text("of nobody")
    node.trilby("image", "import", "/srv/unused", unused)
    assert unused in node.images()
    node.kubelet.end(signal.SIGKILL)
    # Always under pressure. Static pods are never evicted.
    node.start_kubelet(evictionHard={"imagefs.available": "99.999%"}, imageMinimumGCAge="1ms")
    try:
        node.wait(lambda: unused not in node.images(), "the unused image to go")
        assert {BUSYBOX, AGNHOST} <= node.images()
        node.wait_ready(name)
    finally:
        node.kubelet.end(signal.SIGKILL)
        node.start_kubelet()


def test_a_host_without_power(node: Node, name: str) -> None:
    """After a reboot the pod comes back, with its files, and nothing old stands in the way."""
    before = node.wait_ready(name)
    node.reboot()

    def back(found: Pod) -> bool:
        ids = {key: one.get("containerID") for key, one in containers(found).items()}
        old = {one["containerID"] for one in containers(before).values()}
        return ready(found) and not old & set(ids.values())

    after = node.wait_pod(name, back, "back")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert node.fetch(ADDRESS, 18081, "/hostname") == name.encode()
    states = sorted(one["state"] for one in node.sandboxes() if one["metadata"]["name"] == name)
    assert states in (["SANDBOX_NOTREADY", READY], [READY])
    # Containers of before are known to have ended, in a way that nobody saw.
    dead = [one for one in node.containers(name) if one["state"] != RUNNING]
    for one in dead:
        status = node.call("RuntimeService/ContainerStatus", container_id=one["id"])["status"]
        assert (status["state"], status["exit_code"]) == ("CONTAINER_EXITED", 255)
    assert dead
