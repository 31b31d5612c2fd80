"""Runs pods on a node with pure cgroup v2 and systemd, and looks at what became of their limits.

One program on the node, for its processor is emulated and each task of Ansible's takes seconds.
"""

import json
import pathlib
import subprocess
import time
import urllib.request

CGROUPS = pathlib.Path("/sys/fs/cgroup")
MANIFESTS = pathlib.Path("/etc/kubernetes/manifests")
SOCKET = "/run/trilby/trilby.sock"
MIB = 1 << 20
PATIENCE = 120
LIMITED = {
    "requests": {"cpu": "250m", "memory": "32Mi"},
    "limits": {"cpu": "500m", "memory": "64Mi"},
}
GREEDY = {"limits": {"cpu": "1", "memory": "24Mi"}}


def pod(name: str, command: list[str], resources: object, image: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": "main", "image": image, "command": command, "resources": resources}
            ],
        },
    }


def kubelet(path: str):
    with urllib.request.urlopen(f"http://127.0.0.1:10255/{path}", timeout=30) as answer:
        return json.load(answer)


def pod_of(name: str):
    """The kubelet's own words of a static pod; its name ends with the node's."""
    found = kubelet("pods")["items"] or []
    return next((one for one in found if one["metadata"]["name"].startswith(f"{name}-")), None)


def wait(what: str, look):
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE} s"
        time.sleep(1)
    return found


def state_of(name: str, kind: str):
    seen = pod_of(name)
    containers = seen["status"].get("containerStatuses", []) if seen else []
    return seen if any(kind in one["state"] for one in containers) else None


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def value(folder: pathlib.Path, name: str) -> str:
    return (folder / name).read_text().strip()


def same(what: str, seen: object, wanted: object) -> None:
    assert seen == wanted, f"{what} is {seen!r}, not {wanted!r}"


def look_at_cgroups(seen) -> pathlib.Path:
    """Names as the kubelet expects them, and the limits' files; returns the container's cgroup."""
    uid = seen["metadata"]["uid"].replace("-", "_")
    parent = CGROUPS / "kubepods.slice/kubepods-burstable.slice"
    slice_ = parent / f"kubepods-burstable-pod{uid}.slice"
    container = seen["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    scope = slice_ / f"trilby-{container}.scope"
    # crun puts the processes one level below, and what systemd does not know there.
    inner = scope / "container" if (scope / "container").is_dir() else scope
    for name, wanted in {
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cpu.max": "50000 100000",
    }.items():
        same(f"{name} of the container", value(inner, name), wanted)
    for folder in (scope, inner):
        same(f"pids.max of {folder.name}", value(folder, "pids.max"), "max")
    for name in ("memory.max", "cpu.max"):
        same(f"{name} of the pod", value(slice_, name), value(scope, name))
    same("the pod's limit of processes", value(slice_, "pids.max"), "512")
    shown = ("Slice", "ActiveState", "MemoryMax", "TasksMax", "OOMPolicy", "Delegate")
    options = (word for name in shown for word in ("-p", name))
    seen = dict(line.split("=") for line in run("systemctl", "show", *options, scope.name).split())
    wanted = (slice_.name, "active", str(64 * MIB), "infinity", "continue", "yes")
    same("what systemd knows", seen, dict(zip(shown, wanted, strict=True)))
    return scope


def look_inside(name: str) -> None:
    """A container sees its own cgroup as the top one, and cannot write there."""
    words = ("trilby", "pod", "exec", "--host", SOCKET, name, "--")
    script = "cat /proc/self/cgroup /sys/fs/cgroup/memory.max; echo 1 2>&- >/sys/fs/cgroup/pids.max || echo refused"
    same(
        "what the container sees",
        run(*words, "sh", "-c", script).split(),
        ["0::/", str(64 * MIB), "refused"],
    )


def look_at_statistics(name: str) -> None:
    """What the kubelet has from the runtime alone."""

    def measured():
        for one in kubelet("stats/summary")["pods"]:
            if one["podRef"]["name"] == name and one.get("containers"):
                container = one["containers"][0]
                if container["cpu"].get("usageNanoCores") is not None:
                    return one, container
        return None

    whole, container = wait(f"statistics of {name}", measured)
    for one in (whole, container):
        assert 0 < one["memory"]["workingSetBytes"] < 64 * MIB, one["memory"]
        assert one["cpu"]["usageCoreNanoSeconds"] > 0, one["cpu"]
        for part in ("cpu", "memory", "io"):
            assert one[part]["psi"]["some"]["total"] >= 0, f"no pressure of {part}: {one}"
    assert whole["process_stats"]["process_count"] >= 1, whole


def look_at_kill(seen) -> None:
    ended = seen["status"]["containerStatuses"][0]["state"]["terminated"]
    same("the end of what took too much", (ended["reason"], ended["exitCode"]), ("OOMKilled", 137))


def main() -> None:
    web = pod_of("web")
    image = web["spec"]["containers"][0]["image"]
    pods = {
        "limited": pod(
            "limited",
            [
                "sh",
                "-c",
                "while :; do i=0; while [ $i -lt 999 ]; do i=$((i+1)); done; sleep 1; done",
            ],
            LIMITED,
            image,
        ),
        "greedy": pod("greedy", ["sh", "-c", "sleep 1; tail /dev/zero"], GREEDY, image),
    }
    for name, manifest in pods.items():
        (MANIFESTS / f"{name}.yaml").write_text(json.dumps(manifest))
    try:
        limited = wait("the pod with limits", lambda: state_of("limited", "running"))
        name = limited["metadata"]["name"]
        scope = look_at_cgroups(limited)
        look_inside(name)
        look_at_statistics(name)
        look_at_kill(wait("the greedy pod", lambda: state_of("greedy", "terminated")))
    finally:
        for name in pods:
            (MANIFESTS / f"{name}.yaml").unlink(missing_ok=True)
    wait("the end of its cgroup", lambda: not scope.parent.exists())
    same("what systemd calls failed", run("systemctl", "--failed", "--no-legend", "--plain"), "")


main()
