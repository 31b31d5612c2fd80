"""A fit host passes, and every complaint that a check can make is made by one of the unfit ones."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from tests.support.made_host import made_host, node_of
from tests.unit.node import cases_cluster, cases_host, cases_runtime, cases_services
from tests.unit.node.case import Case
from tests.unit.node.cases_services import answers

from trilby.node import checks
from trilby.node.catalogue import CHECKS
from trilby.node.engine import examine
from trilby.node.model import STATUS, Verdict, status_of

CASES = (*cases_host.CASES, *cases_runtime.CASES, *cases_services.CASES, *cases_cluster.CASES)
FOLDER = Path(str(checks.__path__[0]))

#: What a fit host has no use for.
SKIPPED = {
    *("cgroup-v1-allowed", "cgroup-swap", "storage-quota", "storage-readable"),
    *("storage-overlay-features", "api-server", "kubelet-subids"),
    *("storage-additional", "ipv6", "ports-daemon", "credentials", "credential-helpers"),
    *("registries-resolve", "registries-reachable", "apparmor", "last-shutdown"),
    *("kubelet-healthz", "trilby-certificates", "cluster-identity", "cluster-node"),
    *("cluster-clock", "cluster-version-skew", "cluster-ranges", "cluster-pod-range"),
    *("control-plane-certificates", "control-plane-kubeconfigs", "control-plane-keys"),
    *("control-plane-manifests", "control-plane-versions", "control-plane-ranges"),
    *("etcd-disk", "etcd-health", "etcd-members"),
}


def test_fit_host() -> None:
    with made_host() as host:
        answers(b"HTTP/1.1 200 OK\r\n\r\nok")(host)
        outcomes = examine(node_of(host), CHECKS)
    bad = [
        f"{each.id}: {each.evidence}"
        for each in outcomes
        if each.verdict is not (Verdict.SKIP if each.id in SKIPPED else Verdict.PASS)
    ]
    assert not bad
    assert all(each.evidence and not each.mend for each in outcomes)
    assert status_of(outcomes) == 0


def test_there_are_many() -> None:
    assert len(CHECKS) >= 40
    assert len({check.id for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.id))
def test_check_is_told_well(check: object) -> None:
    one = next(each for each in CHECKS if each is check)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one.id)
    assert one.title and one.why and not one.why.endswith(".")
    verdicts = {case.verdict for case in CASES if case.id == one.id}
    if one.id not in SKIPPED:
        verdicts.add("pass")
    assert "pass" in verdicts or one.id == "storage-quota"
    assert verdicts & {"warn", "fail"}


def complaints(path: Path) -> set[int]:
    """The lines of a module that say ``failed(...)`` or ``warned(...)``."""
    return {
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("failed", "warned")
    }


def test_every_complaint_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: set[tuple[str, int]] = set()

    def noting(original: Callable[..., object]) -> Callable[..., object]:
        def note(*evidence: str, mend: str = "") -> object:
            frame: FrameType | None = sys._getframe(1)
            assert frame is not None
            reached.add((Path(frame.f_code.co_filename).name, frame.f_lineno))
            return original(*evidence, mend=mend)

        return note

    files = [path for path in sorted(FOLDER.glob("*.py")) if path.name != "__init__.py"]
    for path in files:
        module = sys.modules[f"trilby.node.checks.{path.stem}"]
        for name in ("failed", "warned"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, noting(getattr(module, name)))
    for case in CASES:
        if case.verdict in ("warn", "fail"):
            case.look()
    missing = [
        f"{path.name}:{line}"
        for path in files
        for line in sorted(complaints(path))
        if (path.name, line) not in reached
    ]
    assert not missing, " ".join(missing)


def test_status() -> None:
    assert STATUS == {"pass": 0, "skip": 0, "warn": 1, "fail": 2}
    warned = Case("selinux", "warn", "", {"sys/fs/selinux/enforce": "0"}).look()
    failed = Case("devices", "fail", "", {"dev/null": None}).look()
    assert status_of([]) == 0
    assert status_of([warned]) == 1
    assert status_of([failed, warned]) == 2


def test_the_documents_have_every_group() -> None:
    text = (Path(__file__).parents[3] / "docs" / "OPERATIONS.md").read_text()
    section = text.partition("## Is a host fit to run pods")[2].partition("\n## ")[0]
    groups = re.findall(r"^\| `([a-z]+)` \|", section, re.MULTILINE)
    assert groups == list(dict.fromkeys(check.group for check in CHECKS))
