"""Specs of Kubernetes' own suite on a cluster of one host, whose pods run on Trilby.

The control plane is plain processes (tests/support/kubernetes_cluster.py), images are pulled from a
registry in the host under their names upstream. ``make conformance`` runs all specs, on a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.suite import Cluster as Reached
from tests.conformance.suite import Part, run
from tests.support.cluster_images import layout
from tests.support.cluster_images_list import suite_images
from tests.support.kubernetes_cluster import ADMIN, Cluster, running_cluster
from tests.support.kubernetes_leftovers import need_host, place_of_host
from tests.support.kubernetes_node import REGISTRY

pytestmark = pytest.mark.timeout(1800)  # programs and images may have to be made

SPECS = Path(__file__).parent / "specs.txt"
TOGETHER = 6
#: Of the suite's images, those that the specs' pods run.
IMAGES = ("agnhost:2.6", "busybox", "nginx", "nonewprivs", "pause")
MIRROR = f"""
[[registry]]
location = "registry.k8s.io"
[[registry.mirror]]
location = "{REGISTRY}"
insecure = true
"""
#: What the kubelet calls for these specs. It does not call others, or only when a disk is full or a
#: log is large: tests/integration/cri/test_calls_go.py calls them all.
RPCS = {
    *("Version", "Status", "RuntimeConfig", "UpdateRuntimeConfig"),
    *("RunPodSandbox", "PodSandboxStatus", "ListPodSandbox", "StopPodSandbox", "RemovePodSandbox"),
    *("CreateContainer", "StartContainer", "ContainerStatus", "ListContainers"),
    *("StopContainer", "RemoveContainer", "UpdateContainerResources"),
    *("ExecSync", "Exec", "Attach", "PortForward"),
    *("ListImages", "ImageStatus", "PullImage", "ImageFsInfo"),
    *("ListPodSandboxStats", "ListMetricDescriptors", "ListPodSandboxMetrics"),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    need_host()
    layouts = {image.name: layout(image) for image in suite_images() if _wanted(image.name)}
    with place_of_host("specs") as (directory, name), running_cluster(directory, name) as cluster:
        with cluster.host.path("/etc/containers/registries.conf").open("a") as registries:
            registries.write(MIRROR)
        for image, folder in layouts.items():
            place = f"docker://{REGISTRY}/{image.partition('/')[2]}"
            cluster.trilby("image", "copy", "-q", f"oci:{folder}:image", place)
        yield cluster


def _wanted(name: str) -> bool:
    return name.rpartition("/")[2].startswith(IMAGES)


def specs() -> list[str]:
    """Their whole names."""
    lines = SPECS.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_specs_pass_and_touch_every_rpc(cluster: Cluster, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "admin.conf"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_bytes(cluster.host.path(ADMIN).read_bytes())
    # As Go has it: other characters must not be escaped.
    focus = [re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", name) + "$" for name in specs()]
    done = run(Part("specs", "", TOGETHER, focus), Reached(kubeconfig, cluster.host.pid), tmp_path)
    assert [f"{spec.name}: {spec.message}" for spec in done if not spec.passed] == []
    assert sorted(spec.name for spec in done) == sorted(specs())
    cluster.get("metrics/cadvisor")
    called = set(re.findall(r"(\w+) took [\d.]+ ms", cluster.runtime.log()))
    assert RPCS - called == set()
