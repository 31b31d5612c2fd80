"""Building the programs: whole or not there, once however many ask, in the cache folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import kubernetes

ROOT = Path(__file__).resolve().parents[3]
BUILD = [sys.executable, "-m", "tests.support.kubernetes", "criwire"]


@pytest.mark.timeout(900)
def test_two_that_ask_at_once_build_once(tmp_path: Path) -> None:
    environment = {**os.environ, "TRILBY_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen(BUILD, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    [path] = map(Path, paths)
    assert path.parent.parent == tmp_path / "kubernetes"
    entries = {entry.name for entry in path.parent.parent.iterdir()}
    assert entries == {"criwire.lock", path.parent.name}
    assert subprocess.run([path], capture_output=True).returncode == 1


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRILBY_CACHE", str(tmp_path))
    monkeypatch.setitem(kubernetes.PROGRAMS, "criwire", kubernetes.Program("./nothing-here"))
    with pytest.raises(kubernetes.BuildError, match="nothing-here"):
        kubernetes.program("criwire")
    left = {entry.name for entry in (tmp_path / "kubernetes").iterdir()}
    assert left == {"criwire.lock"}


@pytest.mark.timeout(900)
def test_the_kubelet_knows_its_version() -> None:
    done = subprocess.run([kubernetes.program("kubelet"), "--version"], capture_output=True)
    assert done.stdout.decode().strip() == f"Kubernetes {kubernetes.kubernetes_version()}"
