"""From a manifest to the engine's configurations, as the kubelet writes them."""

from __future__ import annotations

import textwrap

import pytest

from trilby.pods.manifest import schema
from trilby.pods.manifest.errors import InvalidManifest
from trilby.pods.manifest.load import load_pod
from trilby.pods.manifest.translate import PodFacts, container_config, field, sandbox_config
from trilby.pods.model_common import (
    NamespaceMode,
    ProfileType,
    SecurityProfile,
    SELinuxOptions,
    SupplementalGroupsPolicy,
)
from trilby.pods.model_container import Capabilities, ContainerConfig, Mount
from trilby.pods.model_sandbox import DNSConfig, PortMapping, Protocol, SandboxConfig

FACTS = PodFacts(uid="u-1", node="node", host_ip="192.0.2.7", ips=("10.0.0.2", "fd00::2"))
HOST = DNSConfig(servers=("192.0.2.53",), searches=("host.test",), options=("ndots:2",))

RICH = """\
apiVersion: v1
kind: Pod
metadata:
  name: rich
  namespace: shop
  labels: {app: web, io.kubernetes.pod.name: forged}
  annotations: {note: "a]b"}
spec:
  hostname: front
  shareProcessNamespace: true
  runtimeClassName: crun
  dnsConfig:
    nameservers: [192.0.2.53, 198.51.100.1]
    searches: [pod.test]
    options: [{name: ndots, value: "5"}, {name: rotate}]
  securityContext:
    runAsUser: 1000
    runAsGroup: 1001
    fsGroup: 2000
    supplementalGroups: [3000]
    supplementalGroupsPolicy: Strict
    seLinuxOptions: {level: "s0:c1,c2"}
    seccompProfile: {type: Localhost, localhostProfile: pod.json}
    appArmorProfile: {type: Unconfined}
    sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "80"}]
  initContainers:
    - name: proxy
      image: proxy
      restartPolicy: Always
      ports: [{containerPort: 9000, hostPort: 9001, hostIP: 127.0.0.1}]
    - name: setup
      image: setup
      ports: [{containerPort: 1, hostPort: 1}]
      securityContext: {privileged: true}
  containers:
    - name: web
      image: example.com/web:1
      command: [serve, "$(PORT)", "$$(PORT)", "$(UNKNOWN)"]
      args: [--name=$(NAME)]
      workingDir: /srv
      stdin: true
      stdinOnce: true
      tty: true
      ports:
        - {name: http, containerPort: 80, hostPort: 8080}
        - {containerPort: 53, hostPort: 53, protocol: UDP}
        - {containerPort: 81}
      lifecycle: {stopSignal: SIGUSR1}
      env:
        - {name: PORT, value: "80"}
        - {name: URL, value: "http://$(HOST):$(PORT)"}
        - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
        - name: OTHER
          valueFrom: {resourceFieldRef: {resource: limits.cpu, containerName: side, divisor: 1m}}
      resources: {limits: {memory: 64Mi}}
      securityContext:
        runAsUser: 0
        capabilities: {add: [NET_ADMIN], drop: [ALL]}
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        procMount: Unmasked
        seLinuxOptions: {type: web_t}
        seccompProfile: {type: Unconfined}
    - name: side
      image: side
      resources: {limits: {cpu: 250m}}
"""


def read(text: str) -> schema.Pod:
    return load_pod(text, "pod.yaml").pod


def small(spec: str = "", container: str = "") -> schema.Pod:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: small}\nspec:\n"
    text += textwrap.indent(spec, "  ")
    text += "  containers:\n    - name: one\n      image: one\n" + textwrap.indent(
        container, " " * 6
    )
    return read(text)


def sandbox(pod: schema.Pod) -> SandboxConfig:
    return sandbox_config(pod, uid="u-1", log_directory="/logs", host_dns=HOST)


def configured(pod: schema.Pod, name: str = "") -> ContainerConfig:
    everything = [*pod.spec.containers, *pod.spec.init_containers]
    chosen = next(each for each in everything if name in ("", each.name))
    mounts = [Mount(container_path="/m", host_path="/h")]
    return container_config(pod, chosen, FACTS, attempt=3, image_id="id-1", mounts=mounts)


def test_a_rich_pods_sandbox() -> None:
    config = sandbox(read(RICH))
    assert (config.name, config.namespace, config.uid) == ("rich", "shop", "u-1")
    assert (config.hostname, config.log_directory) == ("front", "/logs")
    assert config.runtime_handler == "crun"
    assert config.labels == {
        "app": "web",
        "io.kubernetes.pod.name": "rich",  # not what a manifest claims
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": "u-1",
    }
    assert config.annotations == {"note": "a]b"}
    assert config.sysctls == {"net.ipv4.ip_unprivileged_port_start": "80"}
    assert config.dns == DNSConfig(
        servers=("192.0.2.53", "198.51.100.1"),
        searches=("host.test", "pod.test"),
        options=("ndots:2", "ndots:5", "rotate"),
    )


def test_a_rich_pods_ports_are_those_of_what_stays_running() -> None:
    assert sandbox(read(RICH)).port_mappings == (
        PortMapping(container_port=9000, host_port=9001, host_ip="127.0.0.1"),
        PortMapping(container_port=80, host_port=8080),
        PortMapping(container_port=53, host_port=53, protocol=Protocol.UDP),
    )


def test_a_rich_pods_sandbox_security() -> None:
    security = sandbox(read(RICH)).security
    assert security.privileged  # because one of its containers is
    assert (security.run_as_user, security.run_as_group) == (1000, 1001)
    assert security.supplemental_groups == (3000, 2000)
    assert security.namespaces.pid is NamespaceMode.POD
    assert security.namespaces.network is security.namespaces.ipc is NamespaceMode.POD
    assert security.selinux == SELinuxOptions(level="s0:c1,c2")


def test_a_rich_container() -> None:
    config = configured(read(RICH))
    assert config.command == ("serve", "80", "$(PORT)", "$(UNKNOWN)")
    assert config.args == ("--name=rich",)
    assert config.envs == (
        ("PORT", "80"),
        ("URL", "http://$(HOST):80"),  # HOST comes later
        ("HOST", "10.0.0.2"),
        ("NAME", "rich"),
        ("LIMIT", "64"),
        ("OTHER", "250"),
    )
    assert (config.image.image, config.image.user_specified) == ("id-1", "example.com/web:1")
    assert (config.name, config.attempt, config.log_path) == ("web", 3, "web/3.log")
    assert (config.working_dir, config.stop_signal) == ("/srv", "SIGUSR1")
    assert config.stdin and config.stdin_once and config.tty
    assert config.labels["io.kubernetes.container.name"] == "web"
    assert config.labels["io.kubernetes.pod.name"] == "rich"
    assert "app" not in config.labels
    assert config.annotations == {"io.kubernetes.container.restartCount": "3"}
    assert config.mounts == (Mount(container_path="/m", host_path="/h"),)
    assert config.resources.memory_limit == 64 << 20


def test_a_container_overrides_the_pods_security() -> None:
    security = configured(read(RICH)).security
    assert (security.run_as_user, security.run_as_group) == (0, 1001)
    assert security.capabilities == Capabilities(add=("NET_ADMIN",), drop=("ALL",))
    assert security.readonly_rootfs and security.no_new_privs and not security.privileged
    assert security.masked_paths == security.readonly_paths == ()
    assert security.selinux == SELinuxOptions(type="web_t")
    assert security.seccomp == SecurityProfile(type=ProfileType.UNCONFINED)
    assert security.apparmor == SecurityProfile(type=ProfileType.UNCONFINED)


def test_a_container_inherits_the_pods_security() -> None:
    security = configured(read(RICH), "side").security
    assert (security.run_as_user, security.run_as_group) == (1000, 1001)
    assert security.supplemental_groups == (3000, 2000)
    assert security.supplemental_groups_policy is SupplementalGroupsPolicy.STRICT
    assert security.selinux == SELinuxOptions(level="s0:c1,c2")
    assert security.seccomp == SecurityProfile(
        type=ProfileType.LOCALHOST, localhost_ref="/var/lib/kubelet/seccomp/pod.json"
    )
    assert not security.no_new_privs and not security.readonly_rootfs
    assert security.masked_paths is None and security.readonly_paths is None
    assert security.namespaces.pid is NamespaceMode.POD


def test_without_a_word_seccomp_is_the_default_but_not_for_privileged() -> None:
    plain = configured(small()).security
    assert plain.seccomp == SecurityProfile(type=ProfileType.RUNTIME_DEFAULT)
    assert plain.run_as_user is None and plain.apparmor is None and plain.selinux is None
    privileged = configured(small(container="securityContext: {privileged: true}\n")).security
    assert privileged.privileged and privileged.seccomp is None


def test_the_hosts_namespaces() -> None:
    pod = small("hostNetwork: true\nhostPID: true\nhostIPC: true\n",
                "ports: [{containerPort: 80, hostPort: 80}]\n")  # fmt: skip
    config = sandbox(pod)
    namespaces = config.security.namespaces
    assert namespaces.network is namespaces.pid is namespaces.ipc is NamespaceMode.NODE
    assert config.hostname == "" and config.port_mappings == ()
    assert configured(pod).security.namespaces == namespaces


def test_pid_namespaces_are_the_containers_own_by_default() -> None:
    assert sandbox(small()).security.namespaces.pid is NamespaceMode.CONTAINER


@pytest.mark.parametrize(("length", "expected"), [(63, 63), (64, 63), (100, 63)])
def test_a_long_name_is_cut_to_a_host_name(length: int, expected: int) -> None:
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {'x' * length}}}\n"
    text += "spec: {containers: [{name: a, image: b}]}"
    assert len(sandbox(read(text)).hostname) == expected


def test_a_cut_name_does_not_end_in_a_dot() -> None:
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {'x' * 62}.y}}\n"
    text += "spec: {containers: [{name: a, image: b}]}"
    assert sandbox(read(text)).hostname == "x" * 62


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", None),
        ("dnsPolicy: Default\n", None),
        (
            "dnsPolicy: None\ndnsConfig: {nameservers: [198.51.100.1]}\n",
            DNSConfig(servers=("198.51.100.1",)),
        ),
        (
            "dnsConfig: {searches: [a.test, host.test]}\n",
            DNSConfig(
                servers=("192.0.2.53",), searches=("host.test", "a.test"), options=("ndots:2",)
            ),
        ),
    ],
)
def test_dns(spec: str, expected: DNSConfig | None) -> None:
    assert sandbox(small(spec)).dns == expected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "rich"), ("metadata.namespace", "shop"), ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"), ('metadata.labels["app"]', "web"),
        ("metadata.labels['none']", ""), ("metadata.annotations['note']", "a]b"),
        ("spec.nodeName", "node"), ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.0.0.2"), ("status.podIPs", "10.0.0.2,fd00::2"),
        ("status.hostIP", "192.0.2.7"), ("status.hostIPs", "192.0.2.7"),
    ],
)  # fmt: skip
def test_field_paths(path: str, value: str) -> None:
    assert field(read(RICH), path, FACTS) == value


def test_on_the_hosts_network_the_pod_has_the_hosts_address() -> None:
    facts = PodFacts(uid="u", node="n", host_ip="192.0.2.7")
    assert field(small(), "status.podIP", facts) == field(small(), "status.podIPs", facts)
    assert field(small(), "status.podIP", facts) == "192.0.2.7"


@pytest.mark.parametrize(
    "path", ["status.phase", "metadata.labels", "spec", "", "metadata.labels['a'"]
)
def test_an_unknown_field_path_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match="names no field"):
        field(small(), path, FACTS)


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("fieldRef: {fieldPath: status.phase}", "fieldRef.fieldPath: fieldPath 'status.phase'"),
        ("resourceFieldRef: {resource: memory}", "resourceFieldRef: no resource 'memory'"),
        (
            "resourceFieldRef: {resource: limits.cpu, containerName: x}",
            "resourceFieldRef: resourceFieldRef names no container 'x'",
        ),
        ("resourceFieldRef: {resource: limits.cpu, divisor: 1y}", "resourceFieldRef: '1y' has"),
    ],
)
def test_a_reference_to_nothing_is_refused_when_the_manifest_is_read(
    source: str, where: str
) -> None:
    with pytest.raises(InvalidManifest) as caught:
        small(container=f"env: [{{name: A, valueFrom: {{{source}}}}}]\n")
    (problem,) = caught.value.problems
    assert f"spec.containers[0].env[0].valueFrom.{where}" in problem.at("pod.yaml")


def test_a_user_namespace_that_nobody_makes_is_refused() -> None:
    with pytest.raises(InvalidManifest, match="hostUsers"):
        small("hostUsers: false\n")
    assert small("hostUsers: true\n").spec.host_users


def test_a_subdomain_is_a_warning() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  subdomain: a\n"
    text += "  containers: [{name: a, image: b}]\n"
    (warning,) = load_pod(text, "f").warnings
    assert warning.at("f") == "f:5:3: spec.subdomain: is not honoured by the embedded engine"
