"""Kubernetes from packages under Fedora's names: its kubelet runs a pod on our daemon."""

from __future__ import annotations

import time

import pytest
import yaml
from tests.integration.rpm_lifecycle.conftest import Booted
from tests.support.kubernetes import BuildError, kubernetes_version
from tests.support.kubernetes_node import KUBELET
from tests.support.standin_host import POD, RpmHost
from tests.support.standin_kubernetes import kubernetes

from trilby.rpm.repo import Repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = {**KUBELET, "cgroupDriver": "systemd"}


@pytest.fixture(scope="session")
def programs(rawhide: Repository) -> Repository:
    try:
        return kubernetes()
    except BuildError as error:
        pytest.skip(str(error))


def test_a_node_of_packages(booted: Booted, today: Repository, programs: Repository) -> None:
    minor = ".".join(kubernetes_version().removeprefix("v").split(".")[:2])
    with booted("node", programs) as host:
        host.know(today)
        host.know(programs)
        host.dnf("install", "trilby", f"kubernetes{minor}")
        host.use_runc()
        host.pull()
        host.run("systemctl", "enable", "--now", "trilby")
        _run_static_pod(host)

        host.dnf("install", f"kubernetes{minor}-kubeadm", f"kubernetes{minor}-client")
        names = [f"kubernetes{minor}{part}" for part in ("-kubeadm", "-client")]
        assert host.altered(*names) == ""
        assert host.text("kubeadm", "version", "-o", "short") == kubernetes_version()
        assert kubernetes_version() in host.text("kubectl", "version", "--client")
        _erase(host, f"kubernetes{minor}")


def _erase(host: RpmHost, package: str) -> None:
    """Its scriptlets stop the kubelet and take its unit's links; the pod is left to the daemon."""
    enabled = ("find", "/etc/systemd/system", "-name", "kubelet.service")
    assert host.text(*enabled) != ""
    host.dnf("remove", package)
    assert host.main_pid("kubelet") == 0
    assert not host.succeeds("pgrep", "-x", "kubelet")
    assert host.text(*enabled) == ""
    assert host.process(1004)


def _run_static_pod(host: RpmHost) -> None:
    host.host.path("/var/lib/kubelet/config.yaml").write_text(yaml.safe_dump(SETTINGS))
    arguments = 'KUBELET_ARGS="--config=/var/lib/kubelet/config.yaml --node-ip=10.201.0.1"\n'
    host.host.path("/etc/kubernetes/kubelet").write_text(arguments)
    text = POD.format(name="static", image="docker.io/library/busybox:latest", seconds=1004)
    host.host.path("/etc/kubernetes/manifests/static.yaml").write_text(text)
    host.run("systemctl", "enable", "--now", "kubelet")
    end = time.monotonic() + 120
    while not host.host.succeeds("pgrep", "-x", "-f", "sleep 1004"):
        failed = host.host.run("journalctl", "-u", "kubelet", "-n", "30", "--no-pager").stdout
        assert time.monotonic() < end, failed
        time.sleep(0.5)
    assert host.process(1004)
