"""Runs pods on a node that enforces SELinux, and looks at what they are and what they may touch.

One program on the node, for its processor is emulated and each task of Ansible's takes seconds.
"""

import json
import os
import pathlib
import re
import subprocess

SOCKET = "/run/trilby/trilby.sock"
HOST = pathlib.Path("/srv/selinux")
LEVEL = "s0:c7,c9"


def run(*words: str, fails: bool = False) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, f"{words} ended with {done.returncode}: {done.stderr}"
    return (done.stdout + done.stderr).strip().strip("\0")


def inside(pod: str, script: str, container: str = "main", *, fails: bool = False) -> str:
    words = ("trilby", "pod", "exec", "--host", SOCKET, "-c", container, pod, "--")
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
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": key, "image": image, "command": ["sleep", "1d"], **more}
                for key, more in containers.items()
            ],
            **spec,
        },
    }
    path = HOST / f"{name}.yaml"
    path.write_text(json.dumps(pod))
    run("trilby", "pod", "run", "-q", "-d", "--host", SOCKET, str(path))


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


def look_at_options(first: str) -> None:
    same("a level that is asked for", inside("two", "cat /proc/self/attr/current"),
         f"system_u:system_r:container_t:{LEVEL}")  # fmt: skip
    same("a privileged container", inside("two", "cat /proc/self/attr/current", "free"),
         "system_u:system_r:kernel_t:s0-s0:c0.c1023")  # fmt: skip
    inside("two", "touch /data/mine")
    # Of the right type, and another pod's.
    (HOST / "theirs").mkdir()
    (HOST / "theirs/file").write_text("theirs")
    for path in (HOST / "theirs", HOST / "theirs/file"):
        os.setxattr(path, "security.selinux", first.encode())
    assert "Permission denied" in inside("two", "cat /host/theirs/file", fails=True)
    same("of a privileged one", inside("two", "cat /host/theirs/file", "free"), "theirs")


def look_at_kubelet() -> None:
    """Volumes of the kubelet's are labelled when it asks for that."""
    volumes = pathlib.Path("/var/lib/kubelet/pods").glob("*/volumes/kubernetes.io~empty-dir/www")
    labels = [label(path) for path in volumes]
    assert labels and all(":container_file_t:s0:c" in one for one in labels), labels


def main() -> None:
    manifest = next(pathlib.Path("/etc/kubernetes/manifests").glob("web.*")).read_text()
    image = re.search(r"image: \"?([^\s\"]+)", manifest)[1]
    HOST.mkdir()
    (HOST / "secret").write_text("secret")
    spec = {
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "host", "hostPath": {"path": str(HOST)}},
        ]
    }
    mounts = {
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "host", "mountPath": "/host"},
        ]
    }
    level = {"securityContext": {"seLinuxOptions": {"level": LEVEL}}}
    privileged = {"securityContext": {"privileged": True}}
    try:
        start("one", image, spec, main=mounts, other=mounts)
        inside("one", "echo shm >/dev/shm/x; echo data >/data/x")
        own = look_at_default()
        start("two", image, {**spec, **level}, main=mounts, free={**mounts, **privileged})
        look_at_options(own)
        look_at_kubelet()
    finally:
        for path in HOST.glob("*.yaml"):
            run("trilby", "pod", "rm", "--force", "--host", SOCKET, path.stem)


main()
