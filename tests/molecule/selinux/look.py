"""Runs pods on a node that enforces SELinux, and looks at what they are and what they may touch.

One program on the node, for its processor is emulated and each task of Ansible's takes seconds.
"""

import json
import os
import pathlib
import re
import subprocess
import time
import urllib.request

SOCKET = "/run/trilby/trilby.sock"
MANIFESTS = pathlib.Path("/etc/kubernetes/manifests")
#: Of the host, and of somebody else's pod.
HOST = pathlib.Path("/srv/host")
THEIRS = pathlib.Path("/srv/theirs")
NODE = os.uname().nodename
LEVEL = "s0:c7,c9"
PATIENCE = 120


def run(*words: str, fails: bool = False) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, f"{words} ended with {done.returncode}: {done.stderr}"
    return (done.stdout + done.stderr).strip().strip("\0")


def inside(pod: str, script: str, container: str = "main", *, fails: bool = False) -> str:
    name = f"{pod}-{NODE}"
    words = ("trilby", "pod", "exec", "--host", SOCKET, "-c", container, name, "--")
    return run(*words, "sh", "-c", script, fails=fails)


def label(path: pathlib.Path) -> str:
    return os.getxattr(path, "security.selinux").decode().rstrip("\0")


def same(what: str, seen: object, wanted: object) -> None:
    assert seen == wanted, f"{what} is {seen!r}, not {wanted!r}"


def start(name: str, image: str, spec: dict, **containers: dict) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": key, "image": image, "command": ["sleep", "1d"], **more}
                for key, more in containers.items()
            ],
            **spec,
        },
    }
    (MANIFESTS / f"{name}.yaml").write_text(json.dumps(pod))
    end = time.monotonic() + PATIENCE
    while not runs(f"{name}-{NODE}", len(containers)):
        assert time.monotonic() < end, f"pod {name} does not run within {PATIENCE} s"
        time.sleep(1)


def runs(name: str, count: int) -> bool:
    """Whether the kubelet says so of all containers of a static pod."""
    with urllib.request.urlopen("http://127.0.0.1:10255/pods", timeout=30) as answer:
        pods = json.load(answer)["items"] or []
    found = [pod["status"] for pod in pods if pod["metadata"]["name"] == name]
    states = [one["state"] for status in found for one in status.get("containerStatuses", [])]
    return [list(state) for state in states] == [["running"]] * count


def volumes(host: pathlib.Path) -> dict:
    return {
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "host", "hostPath": {"path": str(host)}},
        ]
    }


def look_at_default() -> str:
    """A container without options: a level of the pod's own, and all its files have it."""
    process = inside("one", "cat /proc/self/attr/current")
    found = re.fullmatch(r"system_u:system_r:container_t:(s0:c\d+,c\d+)", process)
    assert found, f"a container is {process}"
    same("what the pod shares", inside("one", "cat /dev/shm/x /data/x", "other"), "shm\ndata")
    inside("one", "touch /x /tmp/x; cat /etc/hosts /etc/resolv.conf /etc/hostname")
    own = f"system_u:object_r:container_file_t:{found[1]}"
    assert f'context="{own}"' in pathlib.Path("/proc/mounts").read_text()
    assert "Permission denied" in inside("one", "cat /host/secret", fails=True)
    assert "Permission denied" in inside("one", "echo x >/host/made", fails=True)
    return own


def look_at_options() -> None:
    same("a level that is asked for", inside("two", "cat /proc/self/attr/current"),
         f"system_u:system_r:container_t:{LEVEL}")  # fmt: skip
    same("a privileged container", inside("two", "cat /proc/self/attr/current", "free"),
         "system_u:system_r:kernel_t:s0-s0:c0.c1023")  # fmt: skip
    inside("two", "touch /data/mine")
    # Of the right type, and another pod's.
    assert "Permission denied" in inside("two", "cat /host/file", fails=True)
    same("of a privileged one", inside("two", "cat /host/file", "free"), "theirs")


def look_at_kubelet() -> None:
    """Volumes of the kubelet's are labelled when it asks for that."""
    volumes = pathlib.Path("/var/lib/kubelet/pods").glob("*/volumes/kubernetes.io~empty-dir/*")
    labels = [label(path) for path in volumes]
    assert labels and all(":container_file_t:s0:c" in one for one in labels), labels


def main() -> None:
    manifest = next(MANIFESTS.glob("web.*")).read_text()
    image = re.search(r"image: \"?([^\s\"]+)", manifest)[1]
    HOST.mkdir(exist_ok=True)
    (HOST / "secret").write_text("secret")
    mounts = {
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "host", "mountPath": "/host"},
        ]
    }
    level = {"securityContext": {"seLinuxOptions": {"level": LEVEL}}}
    privileged = {"securityContext": {"privileged": True}}
    try:
        start("one", image, volumes(HOST), main=mounts, other=mounts)
        inside("one", "echo shm >/dev/shm/x; echo data >/data/x")
        own = look_at_default()
        THEIRS.mkdir(exist_ok=True)
        (THEIRS / "file").write_text("theirs")
        for path in (THEIRS, THEIRS / "file"):
            os.setxattr(path, "security.selinux", own.encode())
        spec = {**volumes(THEIRS), **level}
        start("two", image, spec, main=mounts, free={**mounts, **privileged})
        look_at_options()
        look_at_kubelet()
    finally:
        for name in ("one", "two"):
            (MANIFESTS / f"{name}.yaml").unlink(missing_ok=True)


main()
