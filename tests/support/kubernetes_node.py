"""A node: a fresh host with trilbyd, a real kubelet in standalone mode, and a registry.

Pods are manifests in the kubelet's folder. What the kubelet thinks of them is asked of its own
HTTPS API, by sockets that are made in the host's network.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from tests.support.criwire import caller
from tests.support.kubernetes import program
from tests.support.kubernetes_host import ADDRESS, ROOT, Host, Process, fresh_host
from tests.support.pods import APPLETS, GROUP, PASSWD

from trilby.system.namespaces import in_netns

T = TypeVar("T")
Pod = dict[str, Any]

SOCKET = "/run/trilby/trilby.sock"
MANIFESTS = "/etc/kubernetes/manifests"
REGISTRY = "localhost:5000"
BUSYBOX = "localhost/busybox:test"
AGNHOST = "localhost/agnhost:test"
PORT = 10250
READY = "SANDBOX_READY"
RUNNING = "CONTAINER_RUNNING"
#: What is not said here is the kubelet's default.
KUBELET: dict[str, object] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "staticPodPath": MANIFESTS,
    "containerRuntimeEndpoint": f"unix://{SOCKET}",
    "cgroupDriver": "cgroupfs",
    "failCgroupV1": False,
    "failSwapOn": False,
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "address": "127.0.0.1",
    "port": PORT,
    "syncFrequency": "1s",
    "fileCheckFrequency": "1s",
    "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
    "containerLogMaxSize": "20Ki",
    "containerLogMaxFiles": 3,
    "containerLogMonitorInterval": "3s",
    "featureGates": {"KubeletCrashLoopBackOffMax": True, "PodAndContainerStatsFromCRI": True},
    "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
    "clusterDNS": ["10.96.0.10"],
    "clusterDomain": "cluster.local",
    "shutdownGracePeriod": "0s",
}


class Node:
    """A running node. ``runtime`` and ``kubelet`` are its daemons; both can be killed."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.runtime: Process
        self.kubelet: Process
        self.name = host.run("hostname").stdout.decode().strip()
        self.log_level = "debug"
        #: Of the kubelet, besides its configuration.
        self.arguments: tuple[str, ...] = ()

    # -- its daemons

    def start_runtime(self) -> None:
        """Start trilbyd and wait until it answers."""
        level = f"--log-level={self.log_level}"
        self.runtime = self.host.start("trilbyd", ROOT / ".venv/bin/trilbyd", level)
        self.wait_runtime(SOCKET)

    def wait_runtime(self, path: str) -> None:
        """Wait until the runtime's socket answers."""
        socket = self.host.path(path)
        wait_for(lambda: self._runtime_answers(socket), "the runtime's socket", self.runtime.log)

    def use_handler(self, handler: str) -> None:
        """Start trilbyd again with another OCI runtime for new pods."""
        text = f'[trilby.runtime]\ndefault_runtime = "{handler}"\n'
        self.host.path("/etc/trilby/trilby.conf").write_text(text)
        assert self.runtime.end() == 0
        self.start_runtime()

    def has_crun(self) -> bool:
        """Whether crun is here and takes cgroup v1, as some releases do not."""
        if self.host.run("sh", "-c", "command -v crun", check=False).returncode != 0:
            return False
        features = self.host.run("crun", "features", check=False).stdout
        linux = json.loads(features).get("linux", {}) if features.startswith(b"{") else {}
        return bool(linux.get("cgroup", {}).get("v1", True))

    def _runtime_answers(self, path: Path) -> bool:
        assert self.runtime.running, self.runtime.log()
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            try:
                connection.connect(str(path))
            except OSError:
                return False
            return True

    def start_kubelet(self, **changes: object) -> None:
        """Start the kubelet with changed settings, and wait until it is healthy."""
        config = self.host.path("/var/lib/kubelet/config.yaml")
        config.write_text(yaml.safe_dump({**KUBELET, **changes}))
        self.kubelet = self.host.start(
            *("kubelet", program("kubelet"), "--config=/var/lib/kubelet/config.yaml"),
            *(f"--node-ip={ADDRESS}", "--v=2", *self.arguments),
        )
        wait_for(self._kubelet_answers, "the kubelet's health", self.kubelet.log)

    def _kubelet_answers(self) -> bool:
        assert self.kubelet.running, self.kubelet.log()[-6000:]
        try:
            return self.get("healthz") == b"ok"
        except OSError:
            return False

    def reboot(self) -> None:
        """The power fails, and comes back: the disk is what stays."""
        self.host.halt()
        self.host.boot()
        self.start_registry()
        self.start_runtime()
        self.start_kubelet()

    def start_registry(self) -> None:
        self.host.start("registry", "docker-registry", "serve", "/etc/registry.yml")

    def revive(self) -> None:
        """Start what does not run."""
        if not self.runtime.running:
            self.start_runtime()
        if not self.kubelet.running:
            self.host.path("/var/lib/kubelet/cpu_manager_state").unlink(missing_ok=True)
            self.start_kubelet()

    # -- pods

    def add(self, pod: Pod) -> str:
        """Give a manifest to the kubelet; returns the name that the pod gets."""
        name = pod["metadata"]["name"]
        folder = self.host.path(MANIFESTS)
        # The kubelet overlooks names that begin with a dot.
        (folder / f".{name}").write_text(json.dumps(pod))
        (folder / f".{name}").rename(folder / f"{name}.json")
        return f"{name}-{self.name}"

    def remove(self, *pods: str) -> None:
        """Take manifests away and wait until the pods run no more.

        The kubelet removes their sandboxes later, once a minute.
        """
        for pod in pods:
            self.host.path(f"{MANIFESTS}/{pod.removesuffix('-' + self.name)}.json").unlink()
        wait_for(lambda: not self._runs(set(pods)), f"the end of {pods}", self.logs)

    def _runs(self, pods: set[str]) -> bool:
        known = {pod["metadata"]["name"] for pod in self.pods()}
        alive = {one["metadata"]["name"] for one in self.sandboxes() if one["state"] == READY}
        return bool((known | alive) & pods)

    def call(self, rpc: str, **request: Any) -> dict[str, Any]:
        """The response of an RPC of the runtime, by the Go module of the real API."""
        with caller(str(self.host.path(SOCKET))) as daemon:
            return daemon.call(rpc, **request).only

    def sandboxes(self) -> list[dict[str, Any]]:
        """The runtime's sandboxes, those that were stopped too."""
        found = self.call("RuntimeService/ListPodSandbox")["items"]
        assert isinstance(found, list)
        return found

    def containers(self, pod: str = "") -> list[dict[str, Any]]:
        """The runtime's containers, all or those of one pod."""
        labels = {"io.kubernetes.pod.name": pod} if pod else {}
        request = {"label_selector": labels}
        found = self.call("RuntimeService/ListContainers", filter=request)["containers"]
        assert isinstance(found, list)
        return found

    def images(self) -> set[str]:
        """The names of the runtime's images."""
        found = self.call("ImageService/ListImages")["images"]
        return {name for image in found for name in image["repo_tags"]}

    def wait(self, look: Callable[[], object], what: str, timeout: float = 30) -> None:
        """Wait for anything; a failure shows both daemons' logs."""
        wait_for(look, what, self.logs, timeout)

    def pods(self) -> list[Pod]:
        """All pods with their status, as the kubelet tells them."""
        items = json.loads(self.get("pods"))["items"]
        assert items is None or isinstance(items, list)
        return items or []

    def pod(self, name: str) -> Pod:
        """One pod; {} if the kubelet does not know it."""
        return next((pod for pod in self.pods() if pod["metadata"]["name"] == name), {})

    def wait_pod(
        self, name: str, wanted: Callable[[Pod], object], what: str, timeout: float = 30
    ) -> Pod:
        """Wait until ``wanted`` holds for a pod; returns the pod."""
        seen: Pod = {}

        def look() -> object:
            nonlocal seen
            seen = self.pod(name)
            return seen and wanted(seen)

        def explain() -> str:
            return json.dumps(seen.get("status"), indent=1) + "\n" + self.logs()

        wait_for(look, f"{name} to be {what}", explain, timeout)
        return seen

    def wait_ready(self, name: str, timeout: float = 30) -> Pod:
        return self.wait_pod(name, ready, "ready", timeout)

    def logs(self) -> str:
        """The ends of both daemons' logs, and how a daemon ended that does not run."""
        both = (("kubelet", self.kubelet), ("trilbyd", self.runtime))
        return "\n".join(f"{name}{one.ended}:\n{one.log()[-5000:]}" for name, one in both)

    # -- its programs and APIs

    def trilby(self, *words: str | Path, stdin: bytes = b"") -> bytes:
        """The output of a ``trilby`` command."""
        return self.host.run(ROOT / ".venv/bin/trilby", *words, stdin=stdin).stdout

    def client(
        self, *words: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """tests/kubernetes/kubeletclient, which streams as the API server does."""
        return self.host.run(program("kubeletclient"), *words, stdin=stdin, check=check)

    def start_client(self, *words: str) -> subprocess.Popen[bytes]:
        """The same with pipes, still running."""
        return self.host.popen(program("kubeletclient"), *words)

    def get(self, path: str) -> bytes:
        """A page of the kubelet's API. Raises OSError."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", PORT, timeout=20, context=context)
        plain = self.connect("127.0.0.1", PORT)
        connection.sock = context.wrap_socket(plain)
        return _read(connection, path)

    def fetch(self, address: str, port: int, path: str = "/") -> bytes:
        """A page of a server in the host's network. Raises OSError."""
        connection = http.client.HTTPConnection(address, port, timeout=20)
        connection.sock = self.connect(address, port)
        return _read(connection, path)

    def connect(self, address: str, port: int) -> socket.socket:
        """A connection within the host's network. Raises OSError."""
        return in_netns(
            f"/proc/{self.host.pid}/ns/net",
            lambda: socket.create_connection((address, port), timeout=20),
        )


def ready(pod: Pod) -> bool:
    """Whether the kubelet calls a pod ready."""
    conditions = pod["status"].get("conditions", [])
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def containers(pod: Pod) -> dict[str, Any]:
    """The statuses of a pod's containers, those for its start among them, by name."""
    status = pod["status"]
    listed = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return {found["name"]: found for found in listed}


def wait_for(
    look: Callable[[], T], what: str, explain: Callable[[], str], timeout: float = 30
) -> T:
    """Ask again until the answer is true. The kubelet has no way to tell us by itself."""
    end = time.monotonic() + timeout
    while not (answer := look()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s for {what}\n{explain()}")
        time.sleep(0.05)
    return answer


@contextlib.contextmanager
def running_node(directory: Path, name: str) -> Iterator[Node]:
    """Boot a node with two images and an empty registry; ``directory`` keeps its logs."""
    with fresh_host(directory, name) as host:
        node = Node(host)
        configure(host)
        node.start_registry()
        node.start_runtime()
        import_images(node)
        node.start_kubelet()
        yield node


def configure(host: Host) -> None:
    """Files of a node that has no pods yet."""
    host.path("/etc/containers/policy.json").write_text(
        json.dumps({"default": [{"type": "insecureAcceptAnything"}]})
    )
    host.path("/etc/containers/registries.conf").write_text(
        f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n'
    )
    # runc takes every layout of cgroups; see use_handler().
    host.path("/etc/trilby/trilby.conf").write_text('[trilby.runtime]\ndefault_runtime = "runc"\n')
    host.path("/etc/registry.yml").write_text(
        "version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: /run/registry}}\n"
        f"http: {{addr: '{REGISTRY}', secret: only-for-tests}}\n"
    )


def import_images(node: Node) -> None:
    """busybox and agnhost into the runtime's store."""
    rootfs = node.host.path("/srv/busybox")
    for folder in ("bin", "etc", "dev", "proc", "sys", "tmp"):
        (rootfs / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", rootfs / "bin/busybox")
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text(PASSWD)
    (rootfs / "etc/group").write_text(GROUP)
    node.trilby("image", "import", "-c", "ENV PATH=/bin", "/srv/busybox", BUSYBOX)
    shutil.copy(program("agnhost"), rootfs / "agnhost")
    node.trilby("image", "import", "-c", "ENV PATH=/bin:/", "/srv/busybox", AGNHOST)


def _read(connection: http.client.HTTPConnection, path: str) -> bytes:
    with contextlib.closing(connection):
        connection.request("GET", "/" + path.lstrip("/"))
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise OSError(f"{path}: {answer.status} {content[:500]!r}")
        return content
