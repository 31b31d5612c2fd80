"""Static pods under a real kubelet: containers of every kind, probes, networks, volumes, limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.kubelet.manifests import SLEEP, container, pod
from tests.support.kubernetes_host import ADDRESS
from tests.support.kubernetes_node import (
    AGNHOST,
    Node,
    Pod,
    containers,
    ready,
)

pytestmark = [
    pytest.mark.timeout(900),  # the kubelet may have to be built
    pytest.mark.usefixtures("crun"),
]


def limits(cpu: str, memory: str) -> dict[str, str]:
    return {"cpu": cpu, "memory": memory}


def field(path: str) -> dict[str, object]:
    return {"fieldRef": {"fieldPath": path}}


def web_manifest() -> Pod:
    shared = {"name": "shared", "mountPath": "/shared"}
    page = {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1}
    prepare = container(
        *("prepare", "sh", "-c", "echo prepared >/shared/page; sleep 0.2"), volumeMounts=[shared]
    )
    sidecar = container(
        *("sidecar", "sh", "-c", f"cp /shared/page /shared/copy; {SLEEP}"),
        restartPolicy="Always",
        startupProbe={"exec": {"command": ["test", "-e", "/shared/copy"]}, "periodSeconds": 1},
        volumeMounts=[shared],
    )
    check = container("check", "grep", "prepared", "/shared/copy", volumeMounts=[shared])
    web = container(
        *("web", "/agnhost", "netexec", "--http-port=8080", "--udp-port=-1"),
        image=AGNHOST,
        ports=[{"containerPort": 8080, "hostPort": 18080}],
        startupProbe=page,
        readinessProbe=page,
        livenessProbe={"exec": {"command": ["/bin/true"]}, "periodSeconds": 1},
        resources={"requests": limits("50m", "32Mi"), "limits": limits("200m", "128Mi")},
        env=[
            {"name": "POD_NAME", "valueFrom": field("metadata.name")},
            {"name": "POD_IP", "valueFrom": field("status.podIP")},
            {"name": "NODE_NAME", "valueFrom": field("spec.nodeName")},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        ],
        volumeMounts=[shared, {"name": "info", "mountPath": "/info", "readOnly": True}],
        lifecycle={"postStart": {"exec": {"command": ["touch", "/shared/started"]}}},
    )
    client = container(
        "client",
        volumeMounts=[shared],
        livenessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        securityContext={
            "runAsUser": 1000,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    )
    return pod(
        *("web", web, client),
        initContainers=[prepare, sidecar, check],
        hostname="storefront",
        hostAliases=[{"ip": "192.0.2.7", "hostnames": ["elsewhere"]}],
        dnsPolicy="None",
        dnsConfig={"nameservers": ["192.0.2.53"], "searches": ["example.org"]},
        securityContext={"fsGroup": 2000, "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]},
        volumes=[
            {"name": "shared", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
            # A projected volume, even of the same files, wants an API server.
            {"name": "info", "downwardAPI": {"items": [
                {"path": "labels", **field("metadata.labels")},
                {"path": "notes", **field("metadata.annotations")},
                {"path": "limits/cpu", "resourceFieldRef": {
                    "containerName": "web", "resource": "limits.cpu", "divisor": "1m"}},
            ]}},
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def web(node: Node, crun: None) -> Iterator[str]:
    name = node.add(web_manifest())
    node.wait_ready(name)
    yield name
    node.remove(name)


def run(node: Node, name: str, inside: str, *command: str) -> str:
    """The output of a command in a container, through the kubelet."""
    return node.client("exec", f"default/{name}/{inside}", *command).stdout.decode()


def cgroup(node: Node, controller: str, found: Pod, name: str = "", quality: str = "") -> Any:
    """The cgroup of a pod, or of one of its containers, as seen from the host."""
    top = node.host.path(f"/sys/fs/cgroup/{controller}/kubepods") / quality
    place = top / f"pod{found['metadata']['uid']}"
    if name:
        place /= containers(found)[name]["containerID"].removeprefix("trilby://")
    return place


def test_init_containers_and_sidecars_in_order(node: Node, web: str) -> None:
    found = containers(node.pod(web))
    assert set(found) == {"prepare", "sidecar", "check", "web", "client"}
    ended = {name: found[name]["state"]["terminated"] for name in ("prepare", "check")}
    assert {(end["exitCode"], end["reason"]) for end in ended.values()} == {(0, "Completed")}
    running = {name: found[name]["state"]["running"] for name in ("sidecar", "web", "client")}
    order = [
        ended["prepare"]["finishedAt"],
        running["sidecar"]["startedAt"],
        ended["check"]["startedAt"],
        ended["check"]["finishedAt"],
        running["web"]["startedAt"],
    ]
    assert order == sorted(order)
    assert all(found[name]["started"] for name in running)
    assert {found[name]["restartCount"] for name in found} == {0}


def test_host_port_from_all_addresses(node: Node, web: str) -> None:
    for address in (ADDRESS, "127.0.0.1"):
        assert node.fetch(address, 18080, "/hostname") == b"storefront"
    status = node.pod(web)["status"]
    assert node.fetch(status["podIP"], 8080, "/hostname") == b"storefront"


def test_a_pod_reaches_itself_by_its_host_port(node: Node, web: str) -> None:
    script = f"printf 'GET /hostname HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {ADDRESS} 18080"
    assert run(node, web, "client", "sh", "-c", script).endswith("storefront")


def test_the_containers_share_an_empty_dir_in_memory(node: Node, web: str) -> None:
    assert run(node, web, "client", "cat", "/shared/copy") == "prepared\n"
    assert run(node, web, "client", "ls", "/shared").split() == ["copy", "page", "started"]
    mounted = run(node, web, "web", "grep", " /shared ", "/proc/mounts").split()
    assert mounted[2] == "tmpfs"
    assert "size=8192k" in mounted[3]
    assert run(node, web, "web", "stat", "-c", "%g", "/shared") == "2000\n"


def test_files_and_environment_from_the_pod(node: Node, web: str) -> None:
    assert run(node, web, "web", "cat", "/info/labels") == 'app="web"'
    assert 'note="a \\"quoted\\" one"' in run(node, web, "web", "cat", "/info/notes")
    assert run(node, web, "web", "cat", "/info/limits/cpu") == "200"
    lines = run(node, web, "web", "env").splitlines()
    environment = dict(line.split("=", 1) for line in lines)
    expected = {
        "POD_NAME": web,
        "NODE_NAME": node.name,
        "POD_IP": node.pod(web)["status"]["podIP"],
        "MEMORY": str(128 * 1024 * 1024),
    }
    assert {key: environment[key] for key in expected} == expected


def test_names_and_resolver_are_the_pods(node: Node, web: str) -> None:
    hosts = run(node, web, "client", "cat", "/etc/hosts")
    assert "192.0.2.7\telsewhere" in hosts
    assert f"{node.pod(web)['status']['podIP']}\tstorefront" in hosts
    resolver = run(node, web, "client", "cat", "/etc/resolv.conf").split()
    assert resolver == ["search", "example.org", "nameserver", "192.0.2.53"]


def test_security_context(node: Node, web: str) -> None:
    status = run(node, web, "client", "cat", "/proc/self/status").splitlines()
    values = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert values["Uid"].split() == ["1000"] * 4
    assert "2000" in values["Groups"].split()
    assert int(values["CapEff"], 16) == int(values["CapBnd"], 16) == 0
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")
    failed = node.client("exec", f"default/{web}/client", "touch", "/new", check=False)
    assert failed.returncode == 1
    assert b"Read-only file system" in failed.stderr
    sysctl = run(node, web, "web", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    assert sysctl == "80\n"


def test_a_burstable_pod_has_its_limits(node: Node, web: str) -> None:
    found = node.pod(web)
    assert found["status"]["qosClass"] == "Burstable"
    memory = cgroup(node, "memory", found, "web", "burstable")
    assert int((memory / "memory.limit_in_bytes").read_text()) == 128 * 1024 * 1024
    cpu = cgroup(node, "cpu", found, "web", "burstable")
    assert int((cpu / "cpu.cfs_quota_us").read_text()) == 20_000
    assert int((cpu / "cpu.shares").read_text()) == 51
    unlimited = cgroup(node, "cpu", found, "client", "burstable") / "cpu.cfs_quota_us"
    assert int(unlimited.read_text()) == -1


def test_the_kubelet_measures_the_pod(node: Node, web: str) -> None:
    def measured() -> dict[str, Any]:
        summary = json.loads(node.get("stats/summary"))
        pods = {found["podRef"]["name"]: found for found in summary["pods"]}
        stats: dict[str, Any] = pods.get(web, {})
        return stats

    node.wait_pod(web, lambda _: measured().get("network"), "measured", 30)
    found = measured()
    assert {one["name"] for one in found["containers"]} == {"sidecar", "web", "client"}
    for one in found["containers"]:
        assert one["memory"]["workingSetBytes"] > 0
        assert one["rootfs"]["usedBytes"] >= 0
        assert one["cpu"]["usageCoreNanoSeconds"] > 0
    assert found["network"]["rxBytes"] > 0


def test_a_pod_in_the_hosts_namespaces(node: Node, run_pod: Callable[[Pod], str]) -> None:
    server = container(
        *("server", "/agnhost", "netexec", "--http-port=19090", "--udp-port=-1"), image=AGNHOST
    )
    name = run_pod(pod("host", server, hostNetwork=True, hostPID=True, hostIPC=True))
    found = node.wait_ready(name)
    assert found["status"]["qosClass"] == "BestEffort"
    assert node.fetch(ADDRESS, 19090, "/hostname") == node.name.encode()
    assert run(node, name, "server", "cat", "/proc/1/cmdline") == "catatonit\0-P\0"
    assert "eth0" in run(node, name, "server", "ip", "link")
    assert cgroup(node, "memory", found, "server", "besteffort").is_dir()


def test_a_shared_process_namespace(node: Node, run_pod: Callable[[Pod], str]) -> None:
    name = run_pod(pod("shared", container("one"), container("two"), shareProcessNamespace=True))
    node.wait_ready(name)
    seen = run(node, name, "one", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert seen.count("trap ") == 2
    assert "catatonit" in run(node, name, "two", "cat", "/proc/1/cmdline")


def test_a_pod_with_users_of_its_own(node: Node, run_pod: Callable[[Pod], str]) -> None:
    handlers = node.call("RuntimeService/Status")["runtime_handlers"]
    if not any(one["features"]["user_namespaces"] for one in handlers if one["name"] == ""):
        pytest.skip("the OCI runtime that is installed has no mounts with mapped ids")
    main = container("main", volumeMounts=[{"name": "volume", "mountPath": "/volume"}])
    volumes = [{"name": "volume", "emptyDir": {}}]
    name = run_pod(pod("users", main, hostUsers=False, volumes=volumes))
    node.wait_ready(name)
    [line] = run(node, name, "main", "cat", "/proc/self/uid_map").splitlines()
    inside, outside, length = map(int, line.split())
    assert (inside, length) == (0, 65536)
    assert outside >= 65536
    assert run(node, name, "main", "id", "-u") == "0\n"
    for path in ("/", "/bin/busybox", "/etc/hosts", "/etc/resolv.conf", "/dev/termination-log"):
        assert run(node, name, "main", "stat", "-c", "%u:%g", path) == "0:0\n", path
    run(node, name, "main", "sh", "-c", "echo written >/volume/file && echo >/dev/termination-log")
    assert run(node, name, "main", "stat", "-c", "%u:%g", "/volume/file") == "0:0\n"


def test_resizing_in_place(node: Node, run_pod: Callable[[Pod], str]) -> None:
    """A static pod with a uid of its own keeps it when the manifest changes, and is resized."""

    def manifest(cpu: str, memory: str) -> Pod:
        both = limits(cpu, memory)
        made = pod("sized", container("main", resources={"requests": both, "limits": both}))
        made["metadata"]["uid"] = "5f5a3c1e-9b1d-4c57-8a45-54a5a75f1c11"
        return made

    name = run_pod(manifest("100m", "64Mi"))
    before = node.wait_ready(name)
    assert before["status"]["qosClass"] == "Guaranteed"
    memory = cgroup(node, "memory", before, "main") / "memory.limit_in_bytes"
    quota = cgroup(node, "cpu", before, "main") / "cpu.cfs_quota_us"
    assert (int(memory.read_text()), int(quota.read_text())) == (64 << 20, 10_000)

    node.add(manifest("200m", "96Mi"))

    def resized(found: Pod) -> bool:
        shown = containers(found)["main"].get("resources", {}).get("limits", {})
        return shown == limits("200m", "96Mi") and ready(found)

    after = node.wait_pod(name, resized, "resized")
    assert (int(memory.read_text()), int(quota.read_text())) == (96 << 20, 20_000)
    old, new = containers(before)["main"], containers(after)["main"]
    assert new["containerID"] == old["containerID"]
    assert new["restartCount"] == 0
    pods_memory = cgroup(node, "memory", after) / "memory.limit_in_bytes"
    assert int(pods_memory.read_text()) == 96 << 20
