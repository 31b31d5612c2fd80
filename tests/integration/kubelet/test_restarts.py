"""What ends and starts again: crashes with back-off, memory, probes, logs that grow, pulls."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.kubelet.manifests import SLEEP, container, pod
from tests.support.kubernetes_node import (
    REGISTRY,
    Node,
    Pod,
    containers,
    wait_for,
)

pytestmark = pytest.mark.timeout(900)  # the kubelet may have to be built

RunPod = Callable[[Pod], str]


def last_end(found: Pod, name: str = "main") -> dict[str, Any]:
    """How a container ended the last time; {} if it did not yet."""
    status = containers(found).get(name, {})
    for state in (status.get("state", {}), status.get("lastState", {})):
        if "terminated" in state:
            end: dict[str, Any] = state["terminated"]
            return end
    return {}


def restarts(found: Pod, name: str = "main") -> int:
    return int(containers(found).get(name, {}).get("restartCount", 0))


def test_a_crash_is_followed_by_back_off(node: Node, run_pod: RunPod) -> None:
    script = "echo the reason >/dev/termination-log; exit 3"
    name = run_pod(pod("crash", container("main", "sh", "-c", script)))

    def backs_off(found: Pod) -> bool:
        waiting = containers(found)["main"]["state"].get("waiting", {})
        return restarts(found) >= 2 and waiting.get("reason") == "CrashLoopBackOff"

    found = node.wait_pod(name, backs_off, "in back-off after two restarts")
    end = last_end(found)
    assert (end["exitCode"], end["reason"], end["message"]) == (3, "Error", "the reason\n")
    assert len(node.containers(name)) <= 2, "of the dead ones the kubelet keeps one"


def test_memory_beyond_the_limit(node: Node, run_pod: RunPod) -> None:
    hungry = container(
        *("main", "sh", "-c", "x=$(yes | head -c 100000000); echo $x"),
        resources={"limits": {"memory": "24Mi", "cpu": "500m"}},
    )
    name = run_pod(pod("hungry", hungry, restartPolicy="Never"))
    found = node.wait_pod(name, last_end, "ended")
    assert last_end(found)["reason"] == "OOMKilled"
    assert last_end(found)["exitCode"] == 137
    assert found["status"]["phase"] == "Failed"


def test_a_probe_that_fails_restarts(node: Node, run_pod: RunPod) -> None:
    alive = {"exec": {"command": ["test", "-e", "/tmp/alive"]}}
    main = container(
        *("main", "sh", "-c", f"touch /tmp/alive; {SLEEP}"),
        livenessProbe={**alive, "periodSeconds": 1, "failureThreshold": 1},
    )
    name = run_pod(pod("ill", main))
    before = node.wait_ready(name)
    node.client("exec", f"default/{name}/main", "rm", "/tmp/alive")
    after = node.wait_pod(name, lambda found: restarts(found) == 1, "restarted")
    assert last_end(after)["containerID"] == containers(before)["main"]["containerID"]
    node.wait_ready(name)


def test_hooks_and_the_grace_period(node: Node, run_pod: RunPod) -> None:
    """The host directory outlives the pod and tells what happened in which order."""
    say = "echo {} >>/record/lines"
    main = container(
        *(
            "main",
            "sh",
            "-c",
            f"trap '{say.format('term')}; exit 0' TERM; {SLEEP[SLEEP.index('while') :]}",
        ),
        lifecycle={
            "postStart": {"exec": {"command": ["sh", "-c", say.format("started")]}},
            "preStop": {"exec": {"command": ["sh", "-c", say.format("stopping")]}},
        },
        volumeMounts=[{"name": "record", "mountPath": "/record"}],
    )
    stubborn = container("stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    volumes = [{"name": "record", "hostPath": {"path": "/run/record", "type": "DirectoryOrCreate"}}]
    made = pod("hooks", main, stubborn, volumes=volumes, terminationGracePeriodSeconds=2)
    name = node.add(made)
    node.wait_ready(name)
    node.remove(name)
    lines = node.host.path("/run/record/lines").read_text().split()
    assert lines == ["started", "stopping", "term"]


def test_the_ends_of_a_pod_that_runs_once(node: Node, run_pod: RunPod) -> None:
    good, bad = container("good", "true"), container("bad", "sh", "-c", "exit 4")
    name = run_pod(pod("once", good, bad, restartPolicy="Never"))

    def ended(found: Pod) -> bool:
        return bool(last_end(found, "good") and last_end(found, "bad"))

    found = node.wait_pod(name, ended, "ended")
    assert last_end(found, "good")["exitCode"] == 0
    assert last_end(found, "bad")["exitCode"] == 4
    node.wait_pod(name, lambda found: found["status"]["phase"] == "Failed", "failed")


def kept_lines(folder: Path) -> list[int]:
    """The numbers in a container's logs, oldest first; [] while the kubelet turns them over.

    It renames 0.log before it asks for a new one, and compresses beside the original: files
    are believed when the same ones are there before and after they were read.
    """
    names = sorted(path.name for path in folder.iterdir())
    turning = any(name.endswith(".tmp") or f"{name}.gz" in names for name in names)
    if turning or "0.log" not in names:
        return []
    try:
        texts = [(folder / name).read_bytes() for name in [*names[1:], "0.log"]]
    except FileNotFoundError:
        return []
    if names != sorted(path.name for path in folder.iterdir()):
        return []
    assert len(names) <= 3, names
    if not any(name.endswith(".gz") for name in names):
        return []
    plain = [gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text for text in texts]
    # TIMESTAMP stdout F line NUMBER xxx
    return [int(line.split()[4]) for text in plain for line in text.splitlines()]


def test_logs_that_grow_are_rotated(node: Node, run_pod: RunPod) -> None:
    """Rotated at 20 KiB, three files at most; the writer goes on in the new file."""
    script = (
        "n=0; while [ ! -e /said/enough ]; do n=$((n+1)); echo line $n xxxxxxxxxxxxxxxxxxxx;"
        f" usleep 2000; done; echo $n >/said/last; {SLEEP}"
    )
    main = container(
        "main", "sh", "-c", script, volumeMounts=[{"name": "said", "mountPath": "/said"}]
    )
    said = {"path": "/run/said", "type": "DirectoryOrCreate"}
    name = run_pod(pod("chatty", main, volumes=[{"name": "said", "hostPath": said}]))
    found = node.wait_ready(name)
    folder = node.host.path(f"/var/log/pods/default_{name}_{found['metadata']['uid']}/main")

    def explain() -> str:
        return str(list(folder.iterdir()))

    wait_for(lambda: kept_lines(folder), "a compressed log", explain)
    node.host.path("/run/said/enough").touch()
    last = node.host.path("/run/said/last")
    wait_for(lambda: last.exists() and last.read_text(), "the writer's end", explain)
    written = int(last.read_text())
    wait_for(lambda: kept_lines(folder)[-1:] == [written], "the last line", explain)
    lines = wait_for(lambda: kept_lines(folder), "logs at rest", explain)
    assert lines == list(range(lines[0], written + 1)), "no line is lost at the seams"
    assert containers(node.pod(name))["main"]["restartCount"] == 0


def test_images_are_pulled(node: Node, run_pod: RunPod) -> None:
    # An image of its own: one that the kubelet has pulled once is no longer used unasked.
    image = f"{REGISTRY}/team/busybox:pulled"
    node.host.path("/srv/busybox/pulled").touch()
    node.trilby("image", "import", "-c", "ENV PATH=/bin", "/srv/busybox", image)
    node.trilby("image", "push", "--tls-verify=false", image)
    node.trilby("image", "remove", image)
    main = container("main", image=image, imagePullPolicy="Always")
    name = run_pod(pod("pulled", main))
    found = node.wait_ready(name)
    assert containers(found)["main"]["image"] == image


def test_an_image_that_is_not_there(node: Node, run_pod: RunPod) -> None:
    image = f"{REGISTRY}/team/nothing:here"
    name = run_pod(pod("missing", container("main", image=image, imagePullPolicy="IfNotPresent")))

    def refused(found: Pod) -> bool:
        waiting = containers(found)["main"]["state"].get("waiting", {})
        return waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff")

    found = node.wait_pod(name, refused, "refused")
    message = containers(found)["main"]["state"]["waiting"]["message"]
    assert "reading manifest here in localhost:5000/team/nothing: manifest unknown" in message


def test_a_command_that_is_not_there(node: Node, run_pod: RunPod) -> None:
    name = run_pod(pod("wrong", container("main", "/nothing/here")))
    found = node.wait_pod(name, last_end, "ended")
    end = last_end(found)
    assert (end["exitCode"], end["reason"]) == (128, "StartError")
    assert "/nothing/here" in end["message"]
