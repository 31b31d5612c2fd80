"""Newer features of the CRI, as the kubelet uses them: events, streamed lists, image volumes, ..."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator

import pytest
from tests.integration.kubelet.manifests import SLEEP, container, pod
from tests.support.kubernetes_node import AGNHOST, KUBELET, Node, Pod, containers

pytestmark = [
    pytest.mark.timeout(900),  # the kubelet may have to be built
    pytest.mark.usefixtures("crun"),
]

GATES = {"CRIListStreaming": True, "ContainerStopSignals": True}
RunPod = Callable[[Pod], str]


STATIC_CPUS = {
    "cpuManagerPolicy": "static",
    "reservedSystemCPUs": "0",
    "cpuManagerReconcilePeriod": "1s",
}


def restart(node: Node, gates: dict[str, bool], **settings: object) -> None:
    """Start the kubelet again with further features."""
    node.kubelet.end(signal.SIGKILL)
    # Of another policy the kubelet would refuse to start.
    node.host.path("/var/lib/kubelet/cpu_manager_state").unlink(missing_ok=True)
    usual = KUBELET["featureGates"]
    assert isinstance(usual, dict)
    node.start_kubelet(featureGates=usual | gates, **settings)


def modernize(node: Node, **gates: bool) -> None:
    restart(node, GATES | gates, **(STATIC_CPUS if len(cpus(node)) > 1 else {}))


@pytest.fixture(scope="module")
def modern(node: Node, crun: None) -> Iterator[Node]:
    """The node with features that are off by default, and with CPUs to be had alone."""
    modernize(node)
    yield node
    restart(node, {})


def cpus(node: Node) -> set[int]:
    """The host's CPUs."""
    text = node.host.path("/sys/fs/cgroup/cpuset/cpuset.cpus").read_text().strip()
    return numbers(text)


def numbers(ranges: str) -> set[int]:
    """``0-2,5`` as numbers."""
    found: set[int] = set()
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def run(node: Node, name: str, *command: str) -> str:
    return node.client("exec", f"default/{name}/main", *command).stdout.decode()


def test_events_instead_of_lists(modern: Node) -> None:
    """The kubelet hears of ends by events; it lists every five minutes only."""
    modernize(modern, EventedPLEG=True)
    try:
        for number in range(2):
            main = container("main", "sleep", "1")
            name = modern.add(pod(f"evented-{number}", main, restartPolicy="Never"))
            modern.wait_pod(
                name, lambda found: found["status"]["phase"] == "Succeeded", "succeeded"
            )
            modern.remove(name)
        metrics = modern.get("metrics").decode()
        connections, latencies = (
            re.search(rf"^kubelet_evented_pleg_connection_{name} (\d+)", metrics, re.M)
            for name in ("success_count", "latency_seconds_count")
        )
        assert connections and int(connections[1]) > 0
        assert latencies and int(latencies[1]) >= 2 * 6, "created, started, stopped; of two each"
        assert "nil PodSandboxStatus" not in modern.kubelet.log()
    finally:
        modernize(modern)


def test_lists_are_streamed(modern: Node, run_pod: RunPod) -> None:
    modern.wait_ready(run_pod(pod("listed", container("main"))))
    log = modern.runtime.log()
    for rpc in ("StreamContainers", "StreamPodSandboxes", "StreamImages"):
        assert f"{rpc} took" in log, rpc


def test_a_signal_of_its_own_stops_a_container(modern: Node) -> None:
    script = f"trap 'echo usr1 >/record/signal; exit 0' USR1; {SLEEP[SLEEP.index('while') :]}"
    main = container(
        *("main", "sh", "-c", script),
        lifecycle={"stopSignal": "SIGUSR1"},
        volumeMounts=[{"name": "record", "mountPath": "/record"}],
    )
    volumes = [{"name": "record", "hostPath": {"path": "/run/signal", "type": "DirectoryOrCreate"}}]
    name = modern.add(pod("signal", main, volumes=volumes, os={"name": "linux"}))
    found = modern.wait_ready(name)
    assert containers(found)["main"]["stopSignal"] == "SIGUSR1"
    modern.remove(name)
    assert modern.host.path("/run/signal/signal").read_text() == "usr1\n"


def test_an_image_as_a_volume(modern: Node, run_pod: RunPod) -> None:
    main = container(
        "main",
        volumeMounts=[
            {"name": "image", "mountPath": "/image"},
            {"name": "image", "mountPath": "/part", "subPath": "etc"},
        ],
    )
    volumes = [{"name": "image", "image": {"reference": AGNHOST, "pullPolicy": "Never"}}]
    name = run_pod(pod("image-volume", main, volumes=volumes))
    modern.wait_ready(name)
    assert "agnhost" in run(modern, name, "ls", "/image").split()
    assert "passwd" in run(modern, name, "ls", "/part").split()
    done = modern.client("exec", f"default/{name}/main", "touch", "/image/new", check=False)
    assert b"Read-only file system" in done.stderr


def test_groups_of_the_image_are_left_out(modern: Node, run_pod: RunPod) -> None:
    """The image puts its user into group 2000; the policy Strict does not."""
    seen = {}
    for policy in ("Merge", "Strict"):
        security = {
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "supplementalGroups": [3000],
            "supplementalGroupsPolicy": policy,
        }
        name = run_pod(pod(f"groups-{policy.lower()}", container("main"), securityContext=security))
        found = modern.wait_ready(name)
        seen[policy] = sorted(map(int, run(modern, name, "id", "-G").split()))
        shown = containers(found)["main"]["user"]["linux"]["supplementalGroups"]
        assert sorted(shown) == [group for group in seen[policy] if group in shown]
    assert seen == {"Merge": [1000, 2000, 3000], "Strict": [1000, 3000]}


def test_a_privileged_pod_mounts_for_others(modern: Node, run_pod: RunPod) -> None:
    place = {"name": "place", "mountPath": "/place"}
    volumes = [{"name": "place", "hostPath": {"path": "/run/place", "type": "DirectoryOrCreate"}}]
    mounter = container(
        "main",
        securityContext={"privileged": True},
        volumeMounts=[place | {"mountPropagation": "Bidirectional"}],
    )
    watcher = container("watcher", volumeMounts=[place | {"mountPropagation": "HostToContainer"}])
    name = run_pod(pod("mounter", mounter, watcher, volumes=volumes))
    modern.wait_ready(name)
    script = "mkdir /place/in && mount -t tmpfs tmpfs /place/in && touch /place/in/file"
    run(modern, name, "sh", "-c", script)
    assert modern.host.path("/run/place/in/file").exists()
    modern.client("exec", f"default/{name}/watcher", "ls", "/place/in/file")
    run(modern, name, "busybox", "umount", "/place/in")
    assert not modern.host.path("/run/place/in/file").exists()
    assert int(run(modern, name, "sh", "-c", "ls /dev | wc -l")) > 10


def test_a_container_with_a_cpu_of_its_own(modern: Node, run_pod: RunPod) -> None:
    """The static CPU manager: what others may use is changed while they run."""
    if len(cpus(modern)) < 2:
        pytest.skip("there is only one CPU")

    def allowed(name: str) -> set[int]:
        script = "grep Cpus_allowed_list /proc/self/status | cut -f 2"
        return numbers(run(modern, name, "sh", "-c", script).strip())

    sharing = run_pod(pod("sharing", container("main")))
    modern.wait_ready(sharing)
    assert allowed(sharing) == cpus(modern)
    both = {"cpu": "1", "memory": "32Mi"}
    own = run_pod(pod("own", container("main", resources={"requests": both, "limits": both})))
    modern.wait_ready(own)
    [exclusive] = allowed(own)
    assert exclusive != 0
    modern.wait(lambda: allowed(sharing) == cpus(modern) - {exclusive}, "fewer shared CPUs")
